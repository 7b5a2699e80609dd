import { setTimeout as delay } from "node:timers/promises";

/**
 * Asks until the answer is neither undefined nor false, and returns it; an error counts as "not yet". Fails with the
 * last error when the time is over.
 */
export async function waitFor<T>(
  ask: () => T | Promise<T>,
  {
    timeoutMs = 30_000,
    everyMs = 10,
    what = "it",
  }: { timeoutMs?: number; everyMs?: number; what?: string } = {},
): Promise<Exclude<T, undefined | false>> {
  const giveUpAtMs = performance.now() + timeoutMs;
  let failure: unknown;
  while (performance.now() < giveUpAtMs) {
    try {
      const answer = await ask();
      // The two values that this line leaves out are those that the type leaves out.
      if (answer !== undefined && answer !== false) return answer as Exclude<T, undefined | false>;
      failure = undefined;
    } catch (error) {
      failure = error;
    }
    await delay(everyMs);
  }
  throw new Error(
    `${what} did not happen within ${timeoutMs} ms`,
    failure === undefined ? undefined : { cause: failure },
  );
}
