import http from "node:http";
import http2 from "node:http2";
import type { Code } from "@connectrpc/connect";
import { codeFromString } from "@connectrpc/connect/protocol-connect";
import type { OpenDoors } from "./every-door.ts";

/** The ways to send one hand-made unary call over the wire. */
export const RAW_WAYS = [
  "native gRPC",
  "gRPC over h2c",
  "gRPC-Web over HTTP/1.1",
  "gRPC-Web over h2c",
  "Connect binary over HTTP/1.1",
  "Connect binary over h2c",
  "Connect JSON over HTTP/1.1",
  "Connect JSON over h2c",
] as const;
export type RawWay = (typeof RAW_WAYS)[number];

export interface RawCall {
  /** The encoded message: protobuf, or JSON for the JSON ways. */
  message: Uint8Array;
  /** Name of the content encoding to claim; the message is sent as it is. */
  encoding?: string;
  /** A timeout in the protocol's own header. */
  timeout?: string;
  /** Further headers, as a flat list of names and values, so that a name can come twice. */
  headers?: string[];
  /** Replaces the framed body. */
  body?: Uint8Array;
  path?: string;
  method?: string;
  contentType?: string;
}

export interface RawAnswer {
  httpStatus: number;
  headers: http.IncomingHttpHeaders;
  /** The RPC's code, 0 for success, undefined when the answer holds none. */
  code: number | undefined;
  text: string;
}

/** Sends bytes as they are and reads the RPC's code out of the answer. */
export async function rawCall(
  way: RawWay,
  doors: Pick<OpenDoors, "webUrl" | "grpcTarget">,
  call: RawCall,
): Promise<RawAnswer> {
  const kind = way.startsWith("Connect JSON")
    ? "json"
    : way.startsWith("Connect")
      ? "connect"
      : way.startsWith("gRPC-Web")
        ? "grpc-web"
        : "grpc";
  const framed = kind === "grpc" || kind === "grpc-web";
  const headers = [
    "content-type",
    call.contentType ??
      {
        json: "application/json",
        connect: "application/proto",
        "grpc-web": "application/grpc-web+proto",
        grpc: "application/grpc+proto",
      }[kind],
    ...(call.encoding === undefined ? [] : [framed ? "grpc-encoding" : "content-encoding", call.encoding]),
    ...(call.timeout === undefined ? [] : [framed ? "grpc-timeout" : "connect-timeout-ms", call.timeout]),
    ...(kind === "grpc" ? ["te", "trailers"] : []),
    ...(call.headers ?? []),
  ];
  const body =
    call.body ?? (framed ? envelope(call.encoding === undefined ? 0 : 1, call.message) : call.message);
  const target = {
    path: call.path ?? "/tests.v1.EchoService/Say",
    method: call.method ?? "POST",
    headers,
    body,
  };
  const answer = way.endsWith("HTTP/1.1")
    ? await sendHttp1(doors.webUrl, target)
    : await sendHttp2(way === "native gRPC" ? `http://${doors.grpcTarget}` : doors.webUrl, target);
  return { ...answer, text: answer.body.toString(), code: codeOf(kind, answer) };
}

export function envelope(flags: number, message: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(flags, 0);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

interface Target {
  path: string;
  method: string;
  headers: string[];
  body: Uint8Array;
}
interface Received {
  httpStatus: number;
  headers: http.IncomingHttpHeaders;
  trailers: http.IncomingHttpHeaders;
  body: Buffer;
}

function codeOf(kind: "json" | "connect" | "grpc" | "grpc-web", answer: Received): number | undefined {
  if (kind === "grpc" || kind === "grpc-web") {
    const status =
      answer.trailers["grpc-status"] ??
      answer.headers["grpc-status"] ??
      /grpc-status: (\d+)/.exec(answer.body.toString("latin1"))?.[1];
    return status === undefined ? undefined : Number(status);
  }
  if (answer.httpStatus === 200) return 0;
  try {
    const { code } = JSON.parse(answer.body.toString()) as { code?: string };
    return code === undefined ? undefined : codeFromString(code as Lowercase<keyof typeof Code>);
  } catch {
    return undefined;
  }
}

function sendHttp1(url: string, { path, method, headers, body }: Target): Promise<Received> {
  return new Promise((resolve, reject) => {
    const { host } = new URL(url);
    const all = ["host", host, ...headers];
    if (method !== "GET") all.push("content-length", String(body.length));
    const request = http.request(url, { path, method, headers: all, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () =>
        resolve({
          httpStatus: response.statusCode ?? 0,
          headers: response.headers,
          trailers: response.trailers,
          body: Buffer.concat(chunks),
        }),
      );
    });
    request.on("error", reject);
    request.end(method === "GET" ? undefined : body);
  });
}

function sendHttp2(url: string, { path, method, headers, body }: Target): Promise<Received> {
  const session = http2.connect(url);
  const { promise, resolve, reject } = Promise.withResolvers<Received>();
  session.on("error", reject);
  // A flat list is sent as it is, so that a name can come twice.
  const raw = [
    ":method",
    method,
    ":path",
    path,
    ":scheme",
    "http",
    ":authority",
    new URL(url).host,
    ...headers,
  ];
  const stream = session.request(raw, { endStream: method === "GET" });
  const received: Received = { httpStatus: 0, headers: {}, trailers: {}, body: Buffer.alloc(0) };
  stream.on("response", (answer) => {
    received.httpStatus = Number(answer[":status"]);
    received.headers = answer;
  });
  stream.on("trailers", (trailers) => {
    received.trailers = trailers;
  });
  stream.on("data", (chunk: Buffer) => {
    received.body = Buffer.concat([received.body, chunk]);
  });
  stream.on("error", reject);
  stream.on("close", () => resolve(received));
  if (method !== "GET") stream.end(body);
  return promise.finally(() => session.destroy());
}
