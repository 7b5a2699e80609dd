import type { Interceptor } from "@connectrpc/connect";

/**
 * Makes a call on the web port end as it does on the native one. A unary call ends when its signal says so, also
 * when its handler does not listen. A stream's handler that waits for the next request is woken by the signal, and
 * one that returns because of it ends with the signal's reason: the caller must learn that this was an interruption,
 * not the end.
 */
export const endWithSignal: Interceptor = (next) => async (request) => {
  const { signal } = request;
  if (!request.stream) return Promise.race([next(request), rejectOnAbort(signal)]);
  const response = await next({ ...request, message: untilAborted(request.message, signal) });
  if (!response.stream) return response;
  return { ...response, message: throughSignal(response.message, signal) };
};

async function* throughSignal<T>(messages: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  yield* messages;
  signal.throwIfAborted();
}

/** The same messages, until the signal: whoever waits for one then gets the signal's reason. */
function untilAborted<T>(messages: AsyncIterable<T>, signal: AbortSignal): AsyncIterable<T> {
  return {
    [Symbol.asyncIterator]() {
      const source = messages[Symbol.asyncIterator]();
      return {
        next: () => settledUnlessAborted(source.next(), signal),
        async return() {
          await source.return?.();
          return { done: true, value: undefined };
        },
      };
    },
  };
}

// A race against one lasting promise would keep a reaction for every message; a listener can be taken off again.
function settledUnlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

function rejectOnAbort(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    // The signal is the call's own and goes when the call goes, so nothing has to be taken off again.
    else signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
