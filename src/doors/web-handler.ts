import type { IncomingMessage, ServerResponse } from "node:http";
import { constants, type Http2ServerRequest, type Http2ServerResponse } from "node:http2";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { type CertificateNames, namesIn } from "./client-certificate.ts";
import { REQUEST_ID_HEADER } from "./request-id.ts";

/** A request of either HTTP version; both have the same surface as far as handlers use it. */
export type WebRequest = IncomingMessage | Http2ServerRequest;
/** The response to a {@link WebRequest}. */
export type WebResponse = ServerResponse | Http2ServerResponse;

/** Signals whose reasons are errors for the callers: when streams have to end because the server stops, and when calls. */
export interface WebCallEnds {
  readonly streams: AbortSignal;
  readonly calls: AbortSignal;
}

/** Answers a request and resolves to true, or resolves to false with nothing written, for the next one to try. */
export type WebHandler = (request: WebRequest, response: WebResponse, ends: WebCallEnds) => Promise<boolean>;

/** The path of a request target as it came over the wire: undecoded, without its query. */
export function rawPathOf(request: WebRequest): string {
  const target = request.url ?? "";
  const query = target.indexOf("?");
  return query === -1 ? target : target.slice(0, query);
}

/** The name of the call, which the port gave its answer before anything else. */
export function requestIdIn(response: WebResponse): string {
  return String(response.getHeader(REQUEST_ID_HEADER));
}

/** The IP address and port at the other end, "" and 0 when the connection is already gone. */
export function peerEndpointOf(request: WebRequest): { address: string; port: number } {
  const socket = socketOf(request);
  return { address: socket?.remoteAddress ?? "", port: socket?.remotePort ?? 0 };
}

/** The names in the certificate that the client has proved to own; undefined without one. */
export function certificateOf(request: WebRequest): CertificateNames | undefined {
  const socket = socketOf(request);
  if (socket === undefined || !isTls(socket) || !socket.authorized) return undefined;
  return namesIn(socket.getPeerCertificate().subjectaltname);
}

function socketOf(request: WebRequest): Socket | TLSSocket | undefined {
  // The HTTP/2 request's own `socket` is a proxy that throws when its session is gone.
  return "stream" in request ? request.stream.session?.socket : request.socket;
}

function isTls(socket: Socket | TLSSocket): socket is TLSSocket {
  return "encrypted" in socket;
}

/** Ends a response with a JSON body. */
export function sendJson(response: WebResponse, httpStatus: number, body: unknown): void {
  const bytes = Buffer.from(JSON.stringify(body));
  sendHeaders(response, httpStatus, { "content-type": "application/json", "content-length": bytes.length });
  // Both classes take the same arguments here, but their overloads do not unite into one call signature.
  if ("stream" in response) response.end(bytes);
  else response.end(bytes);
}

/** Writes status and headers; those set before stay. */
export function sendHeaders(
  response: WebResponse,
  httpStatus: number,
  headers: Readonly<Record<string, string | number>> = {},
): void {
  if ("stream" in response) response.writeHead(httpStatus, headers);
  else response.writeHead(httpStatus, headers);
}

/** The statuses that the web port itself answers with, before any RPC is found. */
export type RefusedStatus = 400 | 404 | 405 | 415 | 500 | 505;

const STATUS_NAMES = {
  400: "INVALID_ARGUMENT",
  404: "NOT_FOUND",
  405: "UNIMPLEMENTED",
  415: "INVALID_ARGUMENT",
  500: "INTERNAL",
  505: "UNIMPLEMENTED",
} as const satisfies Record<RefusedStatus, string>;

/** Ends a response with the error body of the REST dialect. */
export function sendRefusal(response: WebResponse, httpStatus: RefusedStatus, message: string): void {
  const status = STATUS_NAMES[httpStatus];
  sendJson(response, httpStatus, { error: { code: httpStatus, status, message, details: [] } });
}

/** Ends a response without a word. */
export function cutOff(response: WebResponse): void {
  if ("stream" in response) response.stream.close(constants.NGHTTP2_CANCEL);
  else response.destroy();
}
