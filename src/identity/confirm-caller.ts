import { and, eq, inArray, isNull } from "drizzle-orm";
import type { Db, Tx } from "../storage/database.ts";
import { tokens } from "../storage/schema.ts";
import type { Caller } from "./caller.ts";
import { unauthenticated } from "./unauthenticated.ts";

/** Within a second of a revocation nothing of its token is accepted; half of that is left for the commit. */
const CONFIRMED_FOR_MS = 500;

/** What a call remembers of its authentication. */
export type ConfirmedCaller = Pick<Caller, "tokenId" | "authenticatedAtMs">;

/**
 * Refuses a call whose token was revoked while it waited, behind a lock or for a slow database. To be asked last: at
 * the end of the transaction that makes a change, before the answer that shows something. Costs nothing where the call
 * was quick.
 */
export async function confirmCaller(db: Db | Tx, caller: ConfirmedCaller): Promise<void> {
  if (performance.now() - caller.authenticatedAtMs < CONFIRMED_FOR_MS) return;
  const rows = await db
    .select({ id: tokens.id })
    .from(tokens)
    .where(and(eq(tokens.id, caller.tokenId), isNull(tokens.revokedAt)));
  if (rows.length === 0) throw unauthenticated();
}

/** Those of the callers whose token was revoked while they waited; asks nothing where all were quick. */
export async function findRevokedCallers<C extends ConfirmedCaller>(
  db: Db | Tx,
  callers: readonly C[],
): Promise<Set<C>> {
  const nowMs = performance.now();
  const slow = callers.filter(({ authenticatedAtMs }) => nowMs - authenticatedAtMs >= CONFIRMED_FOR_MS);
  if (slow.length === 0) return new Set();
  const ids = slow.map(({ tokenId }) => tokenId);
  const rows = await db
    .select({ id: tokens.id })
    .from(tokens)
    .where(and(inArray(tokens.id, ids), isNull(tokens.revokedAt)));
  const inForce = new Set(rows.map(({ id }) => id));
  return new Set(slow.filter(({ tokenId }) => !inForce.has(tokenId)));
}
