import type { IncomingMessage, ServerResponse } from "node:http";
import type { DescMethod, DescService } from "@bufbuild/protobuf";
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

/** What ends calls from outside, because the server stops: signals whose reasons are errors for the callers. */
export interface CallEnds {
  calls?: AbortSignal;
  /** Streams have no end of their own to wait for, and may have to end sooner. */
  streams?: AbortSignal;
}

// Made once: an error takes its stack when it is made, which costs more than all else in a call's end.
const CALL_ENDED = new ConnectError("the call has ended", Code.Canceled);
const NOTHING = (): void => undefined;

/**
 * What a handler gets to know of its call: metadata, deadline, and a signal that fires when its caller goes away. What
 * Connect makes for its own handlers, but each part is only made when it is first looked at: together they would be a
 * seventh of the cost of a small call.
 */
export class CallContext implements HandlerContext {
  readonly protocolName = "rest";
  readonly service: DescService;
  readonly method: DescMethod;
  readonly values: ContextValues;
  /** Whether something else than its caller's leaving can end the call: a deadline, or the server. */
  readonly hasEnd: boolean;
  readonly #req: IncomingMessage;
  #release: () => void = NOTHING;
  readonly #deadlineMs: number | undefined;
  #controller: AbortController | undefined;
  #end: { reason: unknown } | undefined;
  #requestHeader: Headers | undefined;
  #responseHeader: Headers | undefined;
  #responseTrailer: Headers | undefined;

  constructor(
    method: DescMethod,
    req: IncomingMessage,
    values: ContextValues,
    timeoutMs: number | undefined,
    end: AbortSignal | undefined,
  ) {
    this.service = method.parent;
    this.method = method;
    this.values = values;
    this.hasEnd = timeoutMs !== undefined || end !== undefined;
    this.#req = req;
    this.#deadlineMs = timeoutMs === undefined ? undefined : performance.now() + timeoutMs;
    if (this.hasEnd) this.#release = this.#linkEnds(timeoutMs, end);
  }

  get requestMethod(): string {
    return this.#req.method ?? "";
  }

  get url(): string {
    return `http://${this.#req.headers.host ?? "localhost"}${this.#req.url ?? "/"}`;
  }

  get requestHeader(): Headers {
    this.#requestHeader ??= requestMetadata(this.#req);
    return this.#requestHeader;
  }

  get responseHeader(): Headers {
    this.#responseHeader ??= new Headers();
    return this.#responseHeader;
  }

  get responseTrailer(): Headers {
    this.#responseTrailer ??= new Headers();
    return this.#responseTrailer;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#end !== undefined) this.#controller.abort(this.#end.reason);
    }
    return this.#controller.signal;
  }

  timeoutMs(): number | undefined {
    return this.#deadlineMs === undefined ? undefined : this.#deadlineMs - performance.now();
  }

  /** Ends the call, once, and releases what it holds. */
  abort(reason: unknown = CALL_ENDED): void {
    if (this.#end !== undefined) return;
    this.#end = { reason };
    this.#release();
    this.#controller?.abort(reason);
  }

  /** Metadata for the answer, and what comes after it; empty where no handler looked at any. */
  get responseMetadata(): Headers[] {
    return [this.#responseHeader, this.#responseTrailer].filter((headers) => headers !== undefined);
  }

  /** Takes the metadata of a response, which interceptors may have replaced. */
  answerWith({ header, trailer }: { header: Headers; trailer: Headers }): void {
    this.#responseHeader = header;
    this.#responseTrailer = trailer;
  }

  /** All of it in an object of its own, which Connect's code copies property by property. */
  toPlain(): HandlerContext {
    const { service, method, values, protocolName, requestMethod, url } = this;
    const { requestHeader, responseHeader, responseTrailer, signal } = this;
    const timeoutMs = (): number | undefined => this.timeoutMs();
    return {
      service,
      method,
      values,
      protocolName,
      requestMethod,
      url,
      requestHeader,
      responseHeader,
      responseTrailer,
      signal,
      timeoutMs,
    };
  }

  /** Ends the call at its deadline or when the server says so; returns what calls both off. */
  #linkEnds(timeoutMs: number | undefined, end: AbortSignal | undefined): () => void {
    const onEnd = (): void => this.abort(end?.reason);
    const onDeadline = (): void =>
      this.abort(new ConnectError("the operation timed out", Code.DeadlineExceeded));
    if (end?.aborted) onEnd();
    if (timeoutMs !== undefined && timeoutMs <= 0) onDeadline();
    if (this.#end !== undefined) return NOTHING;
    end?.addEventListener("abort", onEnd, { once: true });
    const timer = timeoutMs === undefined ? undefined : setTimeout(onDeadline, timeoutMs);
    return () => {
      clearTimeout(timer);
      end?.removeEventListener("abort", onEnd);
    };
  }
}

/** The context of one call, which its caller's leaving ends. */
export function openCall(
  route: Route,
  req: IncomingMessage,
  res: ServerResponse,
  maxTimeoutMs: number,
  contextValues: ContextValues | undefined,
  ends: CallEnds,
): CallContext {
  const timeoutMs = readTimeoutMs(req.headers, maxTimeoutMs);
  const end = route.spec.kind === "unary" ? ends.calls : ends.streams;
  const context = new CallContext(
    route.spec.method,
    req,
    contextValues ?? createContextValues(),
    timeoutMs,
    end,
  );
  res.on("close", () => {
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

/** Waits of which each ends as its promise does, or as soon as a signal fires: `untilAborted` by one listener for all. */
export class AbortableWaits {
  readonly #signal: AbortSignal;
  #reject: (reason: unknown) => void = NOTHING;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener("abort", () => this.#reject(getAbortSignalReason(signal)), { once: true });
  }

  /** One at a time. */
  wait<T>(promise: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#reject = reject;
      if (this.#signal.aborted) reject(getAbortSignalReason(this.#signal));
      promise.then(resolve, reject);
    });
  }
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
