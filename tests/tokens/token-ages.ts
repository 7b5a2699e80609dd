import type { EnrolledAgent } from "../helpers/fleet-api.ts";
import type { Stage } from "../helpers/stage.ts";

/** An agent's token as it stands in the database. */
export interface StoredToken {
  id: string;
  active: boolean;
  revoked: boolean;
  retired: boolean;
}

/** The agent's tokens, the oldest first. */
export async function tokensOf({ sql }: Stage, { uuid }: EnrolledAgent): Promise<StoredToken[]> {
  return await sql<StoredToken[]>`
    SELECT id, activated_at IS NOT NULL AS active, revoked_at IS NOT NULL AS revoked, retired_at IS NOT NULL AS retired
    FROM tokens WHERE agent_id = ${uuid} ORDER BY created_at, id`;
}

/** Makes an agent's tokens in force older, as if that much of their life had passed; `which` leaves some out. */
export async function ageTokens(
  { sql }: Stage,
  { uuid }: EnrolledAgent,
  interval: string,
  which: "all" | "in use" | "renewals" = "all",
): Promise<void> {
  await sql`
    UPDATE tokens SET minted_at = minted_at - ${interval}::interval, expires_at = expires_at - ${interval}::interval
    WHERE agent_id = ${uuid} AND retired_at IS NULL AND revoked_at IS NULL
      AND (${which} = 'all' OR (activated_at IS NULL) = (${which} = 'renewals'))`;
}
