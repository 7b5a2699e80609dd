import type { Interceptor } from "@connectrpc/connect";

/**
 * Makes a call on the web port end as it does on the native one. A unary call ends when its signal says so, also
 * when its handler does not listen. A stream whose handler returns because of the signal ends with the signal's
 * reason: its caller must learn that this was an interruption, not the end.
 */
export const endWithSignal: Interceptor = (next) => async (request) => {
  const { signal } = request;
  if (!request.stream) return Promise.race([next(request), rejectOnAbort(signal)]);
  const response = await next(request);
  if (!response.stream) return response;
  return { ...response, message: throughSignal(response.message, signal) };
};

async function* throughSignal<T>(messages: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  yield* messages;
  signal.throwIfAborted();
}

function rejectOnAbort(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    // The signal is the call's own and goes when the call goes, so nothing has to be taken off again.
    else signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
