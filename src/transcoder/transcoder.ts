import type { IncomingMessage, ServerResponse } from "node:http";
import type { Message } from "@bufbuild/protobuf";
import { Code, ConnectError, type ContextValues, type Interceptor } from "@connectrpc/connect";
import { file_google_api_httpbody } from "../../gen/google/api/httpbody_pb.js";
import { type CallEnds, isGone } from "./call-context.ts";
import { answerError, type CallSettings, callRpc, type TranscoderLimits } from "./call-rpc.ts";
import { compileRoutes, type Route, type ServiceEntry } from "./compile-routes.ts";
import { sendPayload } from "./encode-response.ts";
import { type ErrorResponse, encodeError, HttpRefusal } from "./error-response.ts";
import { type EnumNames, JsonDialect } from "./json-dialect.ts";
import { responseHeaders } from "./metadata.ts";
import { type PathBinding, RouteTrie } from "./route-trie.ts";

export type { CallEnds } from "./call-context.ts";
export type { TranscoderLimits } from "./call-rpc.ts";
export type { BodyMapping, Route, ServiceEntry } from "./compile-routes.ts";
export type { EnumNames } from "./json-dialect.ts";
export { describeRoutes, type OpenApiExample, type OpenApiOptions } from "./openapi.ts";
export type { ConstrainField, FindComment } from "./openapi-schema.ts";
export {
  type PathTemplate,
  parsePathTemplate,
  TemplateError,
  type TemplateVariable,
} from "./path-template.ts";
export { bindQuery, type QueryResult } from "./query-binding.ts";
export type { PathBinding } from "./route-trie.ts";
export type { Violation } from "./violation.ts";

/** What a transcoder serves, and how. Everything but the services has a default. */
export interface TranscoderOptions {
  services: readonly ServiceEntry[];
  /** Run around every call, as on Connect's own handlers. None by default. */
  interceptors?: Interceptor[];
  /** The spelling of enum values in what goes out; "short" by default, which takes all spellings in. */
  enumNames?: EnumNames;
  limits?: Partial<TranscoderLimits>;
  /** What interceptors and handlers find in a call's context values, such as who its peer is. Nothing by default. */
  contextValues?: (req: IncomingMessage, res: ServerResponse) => ContextValues | undefined;
  /** The id of a message's server-sent event. None by default. */
  eventId?: (message: Message) => string | undefined;
  /** Hears of faults that are not shown to the caller. Writes to standard error by default. */
  reportFault?: (fault: unknown, rpc: string) => void;
}

/** Where a method and a request target lead: to an RPC, or to the status that refuses them. */
export type RouteMatch =
  | { rpc: string; bindings: PathBinding[] }
  | { status: 400 | 404 | 405; allow?: string[] };

/** Serves RPCs as HTTP/JSON by their google.api.http annotations. */
export interface Transcoder {
  /** Answers a request. Resolves to false, with nothing written, where the answer would be 404; never rejects. */
  handle(req: IncomingMessage, res: ServerResponse, ends?: CallEnds): Promise<boolean>;
  /** Finds the RPC of a method and a raw request target. `allow` lists the methods that have a route there. */
  match(method: string, rawTarget: string): RouteMatch;
  /** Every binding, compiled. */
  readonly routes: readonly Route[];
}

const DEFAULT_LIMITS: TranscoderLimits = {
  bodyBytes: 1024 * 1024,
  bodyDepth: 64,
  timeoutMs: 60 * 60 * 1000,
  heartbeatMs: 15_000,
  streamOpenMs: 250,
};

/**
 * Compiles every binding of the services. Throws an Error that names the RPC of the first one that cannot work:
 * a template that does not parse, a field that does not exist, a path that another RPC has.
 */
export function createTranscoder(options: TranscoderOptions): Transcoder {
  const files = options.services.map(({ service }) => service.file);
  const dialect = new JsonDialect([...files, file_google_api_httpbody], options.enumNames ?? "short");
  const routes = compileRoutes(options.services, dialect);
  const trie = new RouteTrie<Route>();
  for (const route of routes) addRoute(trie, route);
  const settings: CallSettings = {
    registry: dialect.registry,
    interceptors: options.interceptors ?? [],
    eventId: options.eventId ?? (() => undefined),
    contextValues: options.contextValues ?? (() => undefined),
    limits: { ...DEFAULT_LIMITS, ...options.limits },
    reportFault: options.reportFault ?? printFault,
  };
  return new RouteTranscoder(routes, trie, settings);
}

function addRoute(trie: RouteTrie<Route>, route: Route): void {
  const other = trie.add(route.httpMethod, route.template, route);
  if (other === undefined) return;
  const binding = `${route.httpMethod} ${route.templateText}`;
  throw new Error(`${route.rpc}: ${binding} is taken by ${other.rpc} (${other.templateText})`);
}

function printFault(fault: unknown, rpc: string): void {
  console.error(`${rpc} failed:`, fault);
}

function malformedPath(): ConnectError {
  return new ConnectError("the path is not UTF-8 in percent-encoding", Code.InvalidArgument);
}

const NOT_HANDLED = Promise.resolve(false);

class RouteTranscoder implements Transcoder {
  readonly routes: readonly Route[];
  readonly #trie: RouteTrie<Route>;
  readonly #settings: CallSettings;

  constructor(routes: readonly Route[], trie: RouteTrie<Route>, settings: CallSettings) {
    this.routes = routes;
    this.#trie = trie;
    this.#settings = settings;
  }

  match(method: string, rawTarget: string): RouteMatch {
    const match = this.#trie.find(method, rawTarget);
    switch (match.kind) {
      case "route":
        return { rpc: match.route.rpc, bindings: match.bindings };
      case "malformed":
        return { status: 400 };
      case "other-method":
        return { status: 405, allow: match.methods };
      case "none":
        return { status: 404 };
    }
  }

  handle(req: IncomingMessage, res: ServerResponse, ends: CallEnds = {}): Promise<boolean> {
    const match = this.#trie.find(req.method ?? "", req.url ?? "");
    switch (match.kind) {
      case "none":
        return NOT_HANDLED;
      case "route":
        return this.#call(match.route, match.bindings, req, res, ends);
      case "malformed":
        return this.#refuse(req, res, malformedPath());
      case "other-method":
        return this.#answerOtherMethod(req, res, match.methods);
    }
  }

  async #call(
    route: Route,
    bindings: PathBinding[],
    req: IncomingMessage,
    res: ServerResponse,
    ends: CallEnds,
  ): Promise<true> {
    try {
      await callRpc(route, bindings, req, res, this.#settings, ends);
    } catch (error) {
      await this.#send(req, res, answerError(error, route, this.#settings));
    }
    return true;
  }

  async #answerOtherMethod(req: IncomingMessage, res: ServerResponse, methods: string[]): Promise<true> {
    const allow = [...methods, ...(methods.includes("GET") ? ["HEAD"] : []), "OPTIONS"].join(", ");
    if (req.method === "OPTIONS") {
      res.writeHead(204, { allow }).end();
      return true;
    }
    const error = new ConnectError(`${req.method} is not allowed here; ${allow} are`, Code.Unimplemented, {
      allow,
    });
    return this.#refuse(req, res, new HttpRefusal(405, error));
  }

  async #refuse(req: IncomingMessage, res: ServerResponse, thrown: unknown): Promise<true> {
    await this.#send(req, res, encodeError(thrown, this.#settings.registry));
    return true;
  }

  async #send(req: IncomingMessage, res: ServerResponse, response: ErrorResponse): Promise<void> {
    if (res.headersSent || isGone(res)) {
      res.destroy();
      return;
    }
    const { status, metadata, body } = response;
    const payload = { contentType: "application/json", body: JSON.stringify(body) };
    await sendPayload(req, res, status, responseHeaders(metadata), payload);
  }
}
