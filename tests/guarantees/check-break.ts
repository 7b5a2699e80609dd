import type { Stage } from "../helpers/stage.ts";
import { lossesOf, sweeps, workingFleet } from "./check-mass-loss.ts";

/** What agents lose by a break of the whole control plane that lasted far longer than they may be silent. */
export async function blamedForBreak(stage: Stage): Promise<string[]> {
  const agents = await workingFleet(stage, 2);
  const ids = agents.map(({ uuid }) => uuid);
  await stage.server.kill();
  await stage.sql.begin(async (sql) => {
    await sql`UPDATE liveness_watch SET kept_at = kept_at - interval '10 minutes', since = since - interval '1 day'`;
    await sql`
      UPDATE agent_states SET last_seen_at = last_seen_at - interval '10 minutes' WHERE agent_id = ANY (${ids})`;
    await sql`
      UPDATE tasks SET lease_expires_at = lease_expires_at - interval '10 minutes' WHERE agent_id = ANY (${ids})`;
  });
  await stage.restart();
  await sweeps(stage, 4);
  const { offline, held } = await lossesOf(stage, agents);
  const problems: string[] = [];
  if (offline > 0) problems.push(`${offline} agents were called offline for a break of the control plane`);
  if (held < 2) problems.push(`${2 - held} tasks were taken for a break of the control plane`);
  return problems;
}
