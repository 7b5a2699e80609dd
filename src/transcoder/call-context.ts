import type { IncomingMessage, ServerResponse } from "node:http";
import {
  Code,
  ConnectError,
  type ContextValues,
  createContextValues,
  type HandlerContext,
} from "@connectrpc/connect";
import { getAbortSignalReason } from "@connectrpc/connect/protocol";
import { readTimeoutMs } from "./call-deadline.ts";
import type { Route } from "./compile-routes.ts";
import { requestMetadata } from "./metadata.ts";

/** A Connect handler's context; `abort` ends the call and releases what it holds. */
export interface CallContext extends HandlerContext {
  /** Whether something else than its caller's leaving can end the call: a deadline, or the server. */
  readonly hasEnd: boolean;
  abort(reason?: unknown): void;
}

/** What ends calls from outside, because the server stops: signals whose reasons are errors for the callers. */
export interface CallEnds {
  calls?: AbortSignal;
  /** Streams have no end of their own to wait for, and may have to end sooner. */
  streams?: AbortSignal;
}

// Made once: an error takes its stack when it is made, which costs more than all else in a call's end.
const CALL_ENDED = new ConnectError("the call has ended", Code.Canceled);

/**
 * The context of one call: metadata, deadline, and a signal that fires when its caller goes away. What Connect
 * makes for its own handlers, with one signal in place of three, whose linking would be a tenth of a call's cost.
 */
export function openCall(
  route: Route,
  req: IncomingMessage,
  res: ServerResponse,
  maxTimeoutMs: number,
  contextValues: ContextValues | undefined,
  ends: CallEnds,
): CallContext {
  const timeoutMs = readTimeoutMs(req.headers, maxTimeoutMs);
  const controller = new AbortController();
  const release = linkDeadline(controller, timeoutMs);
  const end = route.spec.kind === "unary" ? ends.calls : ends.streams;
  const onEnd = (): void => controller.abort(end?.reason);
  if (end?.aborted) onEnd();
  else end?.addEventListener("abort", onEnd, { once: true });
  res.on("close", () => {
    // Not by `writableFinished`, which Node's HTTP/2 sets on every closed stream, however it ended.
    if (!res.writableEnded) controller.abort(new ConnectError("the caller went away", Code.Canceled));
  });
  const startedMs = timeoutMs === undefined ? 0 : performance.now();
  return {
    service: route.spec.method.parent,
    method: route.spec.method,
    protocolName: "rest",
    requestMethod: req.method ?? "",
    url: `http://${req.headers.host ?? "localhost"}${req.url ?? "/"}`,
    requestHeader: requestMetadata(req),
    responseHeader: new Headers(),
    responseTrailer: new Headers(),
    values: contextValues ?? createContextValues(),
    signal: controller.signal,
    hasEnd: timeoutMs !== undefined || end !== undefined,
    timeoutMs: () => (timeoutMs === undefined ? undefined : startedMs + timeoutMs - performance.now()),
    abort(reason = CALL_ENDED) {
      release();
      end?.removeEventListener("abort", onEnd);
      controller.abort(reason);
    },
  };
}

/** Aborts at the deadline, if there is one; returns what calls that off. */
function linkDeadline(controller: AbortController, timeoutMs: number | undefined): () => void {
  if (timeoutMs === undefined) return () => undefined;
  const onDeadline = (): void =>
    controller.abort(new ConnectError("the operation timed out", Code.DeadlineExceeded));
  if (timeoutMs <= 0) {
    onDeadline();
    return () => undefined;
  }
  const timer = setTimeout(onDeadline, timeoutMs);
  return () => clearTimeout(timer);
}

/** Whether nothing can be written any more, because the caller has gone. */
export function isGone(res: ServerResponse): boolean {
  // A response over HTTP/2 has no `destroyed` of its own, its stream has.
  const { stream } = res as { stream?: { destroyed: boolean } };
  return res.destroyed || stream?.destroyed === true;
}

/** Settles as the promise does, or rejects with the signal's reason as soon as that fires. */
export function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(getAbortSignalReason(signal));
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    const onSettled = (): void => signal.removeEventListener("abort", onAbort);
    promise.then(
      (value) => {
        onSettled();
        resolve(value);
      },
      (reason: unknown) => {
        onSettled();
        reject(reason);
      },
    );
  });
}
