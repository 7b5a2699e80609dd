import { setTimeout as pause } from "node:timers/promises";

const LONGEST_MS = 20_000;
const BETWEEN_LOOKS_MS = 5;

/** Looks until `look` gives something else than undefined or false, and resolves to that; rejects after 20 seconds. */
export async function eventually<T>(
  what: string,
  look: () => T | Promise<T>,
): Promise<Exclude<T, undefined | false>> {
  const startedMs = performance.now();
  for (;;) {
    const found = await look();
    // The two values that mean "not yet" are ruled out right here.
    if (found !== undefined && found !== false) return found as Exclude<T, undefined | false>;
    if (performance.now() - startedMs > LONGEST_MS) throw new Error(`waited in vain for ${what}`);
    await pause(BETWEEN_LOOKS_MS);
  }
}
