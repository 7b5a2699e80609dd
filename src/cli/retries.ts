import { DelegateBackoff, handleType, retry } from "cockatiel";
import { Failure } from "./failure.ts";
import { isConnectionLost } from "./transport-failure.ts";

// One try and two more: enough for a restart of the server, short enough for a person who waits.
const RETRIES = 2;
const FIRST_DELAY_MS = 200;
const LONGEST_DELAY_MS = 5_000;
const PAST_END_MS = 50;

export interface RetryOptions {
  readonly timeoutMs: number;
  timedOut(): Failure;
  /** How many servers there are besides the first; 0 when left out. */
  readonly others?: number;
  /** Turns to the next one. */
  moveOn?(): void;
}

/**
 * Runs `attempt` again after a lost connection or a 503, and where there is another server also after one that was never
 * made, all within `timeoutMs`. When the time is over the newest failure counts, or `timedOut` where no attempt came to
 * an end.
 */
export async function withRetries<T>(
  attempt: (signal: AbortSignal) => Promise<T>,
  { timeoutMs, timedOut, others = 0, moveOn }: RetryOptions,
): Promise<T> {
  const signal = AbortSignal.timeout(timeoutMs);
  const endsAtMs = performance.now() + timeoutMs;
  let newest: unknown;
  const isWorthIt = (failure: Failure) => isWorthRetrying(failure) || (others > 0 && isNeverMade(failure));
  const policy = retry(handleType(Failure, isWorthIt), {
    maxAttempts: RETRIES + others,
    backoff: new DelegateBackoff(({ attempt: count }) => {
      // A wait that reaches the end goes a little beyond it, or one more try would begin as the time is over.
      return Math.min(delayMs(count, newest), Math.max(0, endsAtMs - performance.now()) + PAST_END_MS);
    }),
  });
  try {
    return await policy.execute(async () => {
      try {
        return await attempt(signal);
      } catch (error) {
        if (!signal.aborted) newest = error;
        if (error instanceof Failure && isWorthIt(error)) moveOn?.();
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

function isNeverMade({ origin }: Failure): boolean {
  return origin.kind === "transport" && !origin.mayHaveArrived;
}

function isWorthRetrying(failure: Failure): boolean {
  if (failure.origin.kind === "server") return failure.status === "UNAVAILABLE";
  return failure.origin.kind === "transport" && isConnectionLost(failure.cause);
}
