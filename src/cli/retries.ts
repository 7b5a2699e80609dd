import { DelegateBackoff, handleType, retry } from "cockatiel";
import { Failure } from "./failure.ts";
import { isConnectionLost } from "./transport-failure.ts";

// One try and two more: enough for a restart of the server, short enough for a person who waits.
const RETRIES = 2;
const FIRST_DELAY_MS = 200;
const LONGEST_DELAY_MS = 5_000;

/**
 * Runs `attempt` again after a lost connection or a 503, all within `timeoutMs`. When the time is over the newest
 * failure counts, or `timedOut` where no attempt came to an end.
 */
export async function withRetries<T>(
  attempt: (signal: AbortSignal) => Promise<T>,
  timeoutMs: number,
  timedOut: () => Failure,
): Promise<T> {
  const signal = AbortSignal.timeout(timeoutMs);
  const endsAtMs = performance.now() + timeoutMs;
  let newest: unknown;
  const policy = retry(handleType(Failure, isWorthRetrying), {
    maxAttempts: RETRIES,
    backoff: new DelegateBackoff(({ attempt: count }) => {
      return Math.max(0, Math.min(delayMs(count, newest), endsAtMs - performance.now()));
    }),
  });
  try {
    return await policy.execute(async () => {
      try {
        return await attempt(signal);
      } catch (error) {
        if (!signal.aborted) newest = error;
        throw error;
      }
    }, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
    throw newest ?? timedOut();
  }
}

function delayMs(attemptNumber: number, error: unknown): number {
  const origin = error instanceof Failure ? error.origin : undefined;
  const askedMs = origin?.kind === "server" ? (origin.retryAfterSeconds ?? 0) * 1000 : 0;
  return Math.min(LONGEST_DELAY_MS, Math.max(FIRST_DELAY_MS * 2 ** (attemptNumber - 1), askedMs));
}

function isWorthRetrying(failure: Failure): boolean {
  if (failure.origin.kind === "server") return failure.status === "UNAVAILABLE";
  return failure.origin.kind === "transport" && isConnectionLost(failure.cause);
}
