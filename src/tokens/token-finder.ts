import { CoalescingBatcher } from "../runtime/coalescing-batcher.ts";
import { Refusal } from "../runtime/refusal.ts";
import type { Db } from "../storage/database.ts";
import { findTokens, type TokenRecord } from "./token-store.ts";

/** Lookups under way at once: one is answered while the next one gathers. */
const QUERIES_AT_ONCE = 2;
const MOST_AT_ONCE = 500;
const MOST_WAITING = 20_000;

/**
 * Looks tokens up by their ids, those of calls that come at about the same time with one query: every call looks its
 * token up, and a query of its own for each cost more than all the rest of a heartbeat. A lookup begins after the call
 * that it is for, never before: what it finds is no older than the call.
 */
export function createTokenFinder(db: Db): (id: string) => Promise<TokenRecord | undefined> {
  const lookups = new CoalescingBatcher<string, TokenRecord | undefined>({
    keyOf: (id) => id,
    folds: () => true,
    async flush(batch, settle) {
      const found = await findTokens(
        db,
        batch.map(({ item }) => item),
      );
      const byId = new Map(found.map((record) => [record.id, record]));
      for (const [place, { item }] of batch.entries())
        settle(place, { kind: "done", result: byId.get(item) });
    },
    gatherMs: 1,
    maxBatch: MOST_AT_ONCE,
    maxInFlight: QUERIES_AT_ONCE,
    capacity: MOST_WAITING,
    overloaded: () =>
      new Refusal("resource-exhausted", "too many calls wait for their tokens to be looked up", {
        retryAfterMs: 1_000,
      }),
    stopped: () => new Refusal("unavailable", "the server is stopping", { retryAfterMs: 0 }),
  });
  return (id) => lookups.submit(id);
}
