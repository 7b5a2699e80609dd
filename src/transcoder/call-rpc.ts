import type { IncomingMessage, ServerResponse } from "node:http";
import { create, type FileRegistry, type Message } from "@bufbuild/protobuf";
import type { ContextValues, Interceptor, MethodImplSpec, StreamResponse } from "@connectrpc/connect";
import { invokeUnaryImplementation } from "@connectrpc/connect/protocol";
import { deferStream } from "../runtime/defer-stream.ts";
import { invokeStream, one } from "../runtime/invoke-stream.ts";
import { bindRequest, type HttpInput, takesHttpBody } from "./bind-request.ts";
import { type CallContext, type CallEnds, openCall, untilAborted } from "./call-context.ts";
import { isClientStream, type Route } from "./compile-routes.ts";
import { requireJson } from "./content-type.ts";
import {
  chooseStreamCoding,
  encodeMessage,
  givesHttpBody,
  printMessage,
  sendPayload,
} from "./encode-response.ts";
import { type ErrorResponse, encodeError, isUnexpected } from "./error-response.ts";
import { responseHeaders } from "./metadata.ts";
import { readLines } from "./ndjson-request.ts";
import { readBody } from "./request-body.ts";
import type { PathBinding } from "./route-trie.ts";
import { chooseStreamEncoding, RAW_ENCODING } from "./stream-encoding.ts";
import { type StreamOptions, sendStream } from "./stream-response.ts";

/** What holds for every call of a transcoder. */
export interface CallSettings {
  registry: FileRegistry;
  interceptors: Interceptor[];
  contextValues(req: IncomingMessage, res: ServerResponse): ContextValues | undefined;
  eventId(message: Message): string | undefined;
  limits: TranscoderLimits;
  reportFault(fault: unknown, rpc: string): void;
}

/** Bounds of one call: sizes in bytes after decompression, depth in levels of JSON, times in milliseconds. */
export interface TranscoderLimits {
  bodyBytes: number;
  bodyDepth: number;
  /** The longest deadline that a caller's timeout can set. */
  timeoutMs: number;
  /** How often an idle stream says that it lives. */
  heartbeatMs: number;
  /** How long a stream waits for its first message or error before its headers go out. */
  streamOpenMs: number;
}

/** Serves one request on the route that it matched. Rejects where nothing has been answered yet. */
export async function callRpc(
  route: Route,
  bindings: PathBinding[],
  req: IncomingMessage,
  res: ServerResponse,
  settings: CallSettings,
  ends: CallEnds,
): Promise<void> {
  const context = openCall(
    route,
    req,
    res,
    settings.limits.timeoutMs,
    settings.contextValues(req, res),
    ends,
  );
  const call = new RpcCall(route, bindings, req, res, context, settings);
  try {
    await (route.spec.kind === "unary" ? call.runUnary(route.spec) : call.runStream(route.spec));
  } finally {
    context.abort();
  }
}

type UnarySpec = Extract<MethodImplSpec, { kind: "unary" }>;
type StreamSpec = Exclude<MethodImplSpec, { kind: "unary" }>;

class RpcCall {
  readonly #route: Route;
  readonly #bindings: PathBinding[];
  readonly #req: IncomingMessage;
  readonly #res: ServerResponse;
  readonly #context: CallContext;
  readonly #settings: CallSettings;

  constructor(
    route: Route,
    bindings: PathBinding[],
    req: IncomingMessage,
    res: ServerResponse,
    context: CallContext,
    settings: CallSettings,
  ) {
    this.#route = route;
    this.#bindings = bindings;
    this.#req = req;
    this.#res = res;
    this.#context = context;
    this.#settings = settings;
  }

  async runUnary(spec: UnarySpec): Promise<void> {
    await this.#sendMessage(await this.#unlessAborted(this.#invokeUnary(spec)));
  }

  async #invokeUnary(spec: UnarySpec): Promise<Message> {
    const input = this.#bindBody(await readBody(this.#req, this.#settings.limits.bodyBytes));
    const { interceptors } = this.#settings;
    if (interceptors.length === 0) return create(spec.method.output, await spec.impl(input, this.#context));
    // Connect calls these private to its packages. Its version is pinned exactly, and running implementations by
    // the same code as its own handlers is what makes interceptors behave the same on every door.
    return invokeUnaryImplementation(spec, this.#context.toPlain(), input, interceptors);
  }

  /** A call that nothing can cut short but its caller's leaving needs no race: nobody is left to answer. */
  #unlessAborted<T>(promise: Promise<T>): Promise<T> {
    return this.#context.hasEnd ? untilAborted(promise, this.#context.signal) : promise;
  }

  async runStream(spec: StreamSpec): Promise<void> {
    const { interceptors } = this.#settings;
    const input = isClientStream(spec.method)
      ? this.#readMessages()
      : one(await this.#unlessAborted(this.#readMessage()));
    const call = {
      context: this.#context.toPlain(),
      answerWith: (response: Pick<StreamResponse, "header" | "trailer">) =>
        this.#context.answerWith(response),
    };
    const answers = deferStream(() => invokeStream(spec, call, input, interceptors));
    if (spec.kind === "client_streaming") await this.#sendOnly(answers);
    else await sendStream(this.#res, this.#context, answers, this.#streamOptions());
  }

  async #sendOnly(answers: AsyncIterable<Message>): Promise<void> {
    const iterator = answers[Symbol.asyncIterator]();
    const answer = await untilAborted(iterator.next(), this.#context.signal);
    // The trailers are there when the iteration has ended.
    if (!answer.done) await iterator.next();
    if (!answer.done) await this.#sendMessage(answer.value);
  }

  #sendMessage(message: Message): void | Promise<void> {
    const headers = responseHeaders(...this.#context.responseMetadata);
    const payload = encodeMessage(this.#route, this.#settings.registry, message);
    return sendPayload(this.#req, this.#res, 200, headers, payload);
  }

  async #readMessage(): Promise<Message> {
    return this.#bindBody(await readBody(this.#req, this.#settings.limits.bodyBytes));
  }

  #bindBody(body: Uint8Array): Message {
    const expectsJson = this.#route.body.kind !== "none" && !takesHttpBody(this.#route);
    if (body.length > 0 && expectsJson) requireJson(this.#req, false);
    return this.#bind(body);
  }

  async *#readMessages(): AsyncGenerator<Message> {
    requireJson(this.#req, true);
    for await (const line of readLines(this.#req, this.#settings.limits.bodyBytes)) yield this.#bind(line);
  }

  #bind(body: Uint8Array): Message {
    const request: HttpInput = {
      bindings: this.#bindings,
      rawQuery: rawQuery(this.#req.url ?? ""),
      contentType: this.#req.headers["content-type"] ?? "",
      body,
    };
    return bindRequest(this.#route, this.#settings.registry, request, this.#settings.limits.bodyDepth);
  }

  #streamOptions(): StreamOptions {
    const { eventId, limits } = this.#settings;
    const common = {
      eventId,
      printError: (thrown: unknown) => answerError(thrown, this.#route, this.#settings).body,
      heartbeatMs: limits.heartbeatMs,
      openAfterMs: limits.streamOpenMs,
      isHead: this.#req.method === "HEAD",
      coding: chooseStreamCoding(this.#req),
    };
    if (!givesHttpBody(this.#route)) {
      const encoding = chooseStreamEncoding(this.#req.headers.accept);
      return {
        ...common,
        encoding,
        print: (message) => printMessage(this.#route, this.#settings.registry, message),
      };
    }
    return {
      ...common,
      encoding: RAW_ENCODING,
      print: (message) => encodeMessage(this.#route, this.#settings.registry, message).body,
      contentType: (first) =>
        first === undefined
          ? RAW_ENCODING.contentType
          : encodeMessage(this.#route, this.#settings.registry, first).contentType,
    };
  }
}

/** Encodes what a call threw, and reports it where its caller is not told. */
export function answerError(thrown: unknown, route: Route, settings: CallSettings): ErrorResponse {
  if (isUnexpected(thrown)) settings.reportFault(thrown, route.rpc);
  return encodeError(thrown, settings.registry);
}

function rawQuery(target: string): string {
  const question = target.indexOf("?");
  return question < 0 ? "" : target.slice(question + 1);
}
