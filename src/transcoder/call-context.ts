import type { IncomingMessage, ServerResponse } from "node:http";
import { Code, ConnectError, type ContextValues, createHandlerContext } from "@connectrpc/connect";
import { getAbortSignalReason } from "@connectrpc/connect/protocol";
import { readTimeoutMs } from "./call-deadline.ts";
import type { Route } from "./compile-routes.ts";
import { requestMetadata } from "./metadata.ts";

/** A Connect handler's context; `abort` ends the call and releases its timer. */
export type CallContext = ReturnType<typeof createHandlerContext>;

/** The context of one call: metadata, deadline, and a signal that fires when its caller goes away. */
export function openCall(
  route: Route,
  req: IncomingMessage,
  res: ServerResponse,
  maxTimeoutMs: number,
  contextValues: ContextValues | undefined,
): CallContext {
  const timeoutMs = readTimeoutMs(req.headers, maxTimeoutMs);
  const context = createHandlerContext({
    service: route.spec.method.parent,
    method: route.spec.method,
    protocolName: "rest",
    requestMethod: req.method ?? "",
    url: `http://${req.headers.host ?? "localhost"}${req.url ?? "/"}`,
    requestHeader: requestMetadata(req),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(contextValues === undefined ? {} : { contextValues }),
  });
  res.once("close", () => {
    // Not by `writableFinished`, which Node's HTTP/2 sets on every closed stream, however it ended.
    if (!res.writableEnded) context.abort(new ConnectError("the caller went away", Code.Canceled));
  });
  return context;
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
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
