import { promisify } from "node:util";
import { brotliCompress, constants as zlib } from "node:zlib";
import {
  Code,
  ConnectError,
  type ConnectRouterOptions,
  createConnectRouter,
  createContextValues,
  type HandlerContext,
  type Interceptor,
} from "@connectrpc/connect";
import type { UniversalHandler } from "@connectrpc/connect/protocol";
import {
  compressionBrotli,
  compressionGzip,
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from "@connectrpc/connect-node";
import { cutOffKey } from "../runtime/cut-off.ts";
import {
  MAX_MESSAGE_BYTES,
  MAX_MESSAGE_DEPTH,
  peerKey,
  type ReportProblem,
  type ServedService,
} from "./door.ts";
import { endWithSignal } from "./end-with-signal.ts";
import { requestIdKey } from "./request-id.ts";
import { requestTextDecoder } from "./request-text.ts";
import {
  certificateOf,
  cutOff,
  peerEndpointOf,
  rawPathOf,
  requestIdIn,
  sendHeaders,
  sendRefusal,
  type WebHandler,
  type WebRequest,
  type WebResponse,
} from "./web-handler.ts";

import { mendWireError } from "./wire-error.ts";

export interface RpcRoutesOptions {
  readonly services: readonly ServedService[];
  readonly interceptors: readonly Interceptor[];
  /** Aborted when streams have to end because the server stops. */
  readonly streamsEnd: AbortSignal;
  /** Aborted when the time is over that calls were given to finish. */
  readonly callsEnd: AbortSignal;
  readonly report: ReportProblem;
}

/**
 * Serves Connect, gRPC-Web and gRPC at `/package.Service/Method`. What an RPC's path cannot be asked for (method,
 * content type) is refused here, since the library answers it with an empty body and without Allow.
 */
export function createRpcRoutes(options: RpcRoutesOptions): WebHandler {
  const routes = new Map(universalHandlers(options).map((handler) => [handler.requestPath, handler]));
  return async (request, response) => {
    const handler = routes.get(rawPathOf(request));
    if (handler === undefined) return refuseUnknownGrpc(request, response);
    if (!refuseUnspeakable(handler, request, response))
      await answer(handler, request, response, options.report);
    return true;
  };
}

async function answer(
  handler: UniversalHandler,
  request: WebRequest,
  response: WebResponse,
  report: ReportProblem,
): Promise<void> {
  const values = createContextValues()
    .set(peerKey, {
      door: "web",
      ...peerEndpointOf(request),
      certificate: () => certificateOf(request),
    })
    .set(requestIdKey, requestIdIn(response))
    .set(cutOffKey, () => cutOff(response));
  let call: ReturnType<typeof universalRequestFromNodeRequest>;
  try {
    call = universalRequestFromNodeRequest(request, response, undefined, values);
    // The library's own loop destroys a request that it stops reading, and its rest could not be read away then.
    call.body = request.iterator({ destroyOnReturn: false });
  } catch {
    // It builds a URL from the Host header, which can be missing (HTTP/1.0) or no host at all.
    sendRefusal(response, 400, "the request names no valid host");
    return;
  }
  try {
    await universalResponseToNodeResponse(await handler(call), response);
  } catch (reason) {
    // A caller that went away in the middle is no problem of ours.
    if (!call.signal.aborted) report(`the answer of ${handler.requestPath} could not be written`, reason);
    response.destroy();
  }
}

function refuseUnspeakable(handler: UniversalHandler, request: WebRequest, response: WebResponse): boolean {
  const contentType = request.headers["content-type"] ?? "";
  if (!handler.allowedMethods.includes(request.method ?? "")) {
    response.setHeader("allow", handler.allowedMethods.join(", "));
    sendRefusal(response, 405, `${handler.requestPath} takes ${handler.allowedMethods.join(" or ")}`);
    return true;
  }
  if (request.method === "POST" && !handler.supportedContentType(contentType)) {
    sendRefusal(response, 415, "the content type is none that this RPC speaks");
    return true;
  }
  if (handler.method.methodKind === "bidi_streaming" && request.httpVersionMajor < 2) {
    // A caller that expects to talk both ways would wait forever on a connection that cannot.
    response.setHeader("connection", "close");
    sendRefusal(response, 505, "a bidirectional stream needs HTTP/2");
    return true;
  }
  return false;
}

// A gRPC caller learns of an unknown method from a status, not from an HTTP code.
function refuseUnknownGrpc(request: WebRequest, response: WebResponse): boolean {
  const contentType = request.headers["content-type"] ?? "";
  if (!contentType.startsWith("application/grpc")) return false;
  sendHeaders(response, 200, {
    "content-type": contentType,
    "grpc-status": Code.Unimplemented,
    "grpc-message": encodeURIComponent("the server has no such method"),
  });
  response.end();
  return true;
}

function universalHandlers(options: RpcRoutesOptions): UniversalHandler[] {
  const base: ConnectRouterOptions = {
    interceptors: [endWithSignal, ...options.interceptors],
    readMaxBytes: MAX_MESSAGE_BYTES,
    binaryOptions: { recursionLimit: MAX_MESSAGE_DEPTH },
    jsonOptions: JSON_OPTIONS,
    acceptCompression: [compressionGzip, brotli],
    requestGate: mendErrorsOf,
  };
  const calls = createConnectRouter({ ...base, shutdownSignal: options.callsEnd });
  const streams = createConnectRouter({ ...base, shutdownSignal: options.streamsEnd });
  for (const { service, implementation } of options.services) {
    calls.service(service, implementation);
    streams.service(service, implementation);
  }
  return [
    ...calls.handlers.filter((handler) => handler.method.methodKind === "unary"),
    ...streams.handlers.filter((handler) => handler.method.methodKind !== "unary"),
  ];
}

/**
 * The one place where every failure of a call comes by before it is written, in each of the three protocols: the
 * library ends a call's context with the very error object that it then serializes. Interceptors see less, since
 * requests that cannot be decoded never reach them. The context's `abort` is private to the library, whose version
 * is pinned; tests/doors fails if a new one works differently.
 */
function mendErrorsOf(context: HandlerContext): void {
  const open = context as HandlerContext & { abort(reason?: unknown): void };
  const { abort } = open;
  open.abort = (reason) => {
    if (reason instanceof ConnectError) mendWireError(reason);
    abort.call(open, reason);
  };
}

// The library's reader of JSON takes a text decoder that its router's options do not declare.
const JSON_OPTIONS: ConnectRouterOptions["jsonOptions"] & { textDecoder: typeof requestTextDecoder } = {
  ignoreUnknownFields: true,
  recursionLimit: MAX_MESSAGE_DEPTH,
  textDecoder: requestTextDecoder,
};

const compressBrotli = promisify(brotliCompress);

// The default quality of 11 takes a hundred times the CPU of this one and saves little on messages of this size.
const brotli: typeof compressionBrotli = {
  ...compressionBrotli,
  compress: (bytes) => compressBrotli(bytes, { params: { [zlib.BROTLI_PARAM_QUALITY]: 4 } }),
};
