import type { Census } from "./census-store.ts";

/** Counting takes at most this part of one connection's time, however large the fleet is. */
const SHARE_OF_TIME = 1 / 50;
const SHORTEST_REST_MS = 1_000;

/**
 * A census that is taken when it is asked for, and not again before it has rested for fifty times as long as it took:
 * whoever asks meanwhile gets the newest. The first call waits, and so do those beside it.
 */
export function createCensus(read: () => Promise<Census>): () => Promise<Census> {
  let newest: Promise<Census> | undefined;
  let restUntilMs = 0;
  return () => {
    const now = performance.now();
    if (newest !== undefined && now < restUntilMs) return newest;
    // Nobody takes another one while this one is under way.
    restUntilMs = Number.POSITIVE_INFINITY;
    const taken = read().finally(() => {
      const ended = performance.now();
      restUntilMs = ended + Math.max(SHORTEST_REST_MS, (ended - now) / SHARE_OF_TIME);
    });
    newest = taken;
    // A failure is told to those who wait for it, and not kept for the next.
    taken.catch(() => {
      if (newest === taken) newest = undefined;
    });
    return taken;
  };
}
