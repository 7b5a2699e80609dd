import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
  Http2SessionManager,
} from "@connectrpc/connect-node";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import type { TestControlPlane } from "../helpers/control-plane.ts";
import { createGrpcJsTransport } from "../helpers/grpc-js-transport.ts";

/** Every way in that carries a stream of the server. */
export const WATCH_WAYS = [
  "gRPC by grpc-js on the native port",
  "gRPC by connect-node over h2c",
  "Connect by connect-node over HTTP/1.1",
  "gRPC-Web by connect-node over HTTP/1.1",
  "REST as lines of JSON",
  "REST as server-sent events",
] as const;

export type WatchWay = (typeof WATCH_WAYS)[number];

/** A command as every way shows it. */
export interface HeardCommand {
  sequence: string;
  kind: string;
  taskId: string;
  reason: string;
}

/** An agent's open stream of commands. */
export interface Watch {
  /** The next command; undefined where the stream ended well. Throws a ConnectError where it did not. */
  next(): Promise<HeardCommand | undefined>;
  cancel(): void;
}

/** Opens WatchCommands by that way; `close` ends its connection. */
export function watchCommands(
  server: Pick<TestControlPlane, "httpUrl" | "grpcAddress">,
  way: WatchWay,
  token: string,
  bootId = "",
): Watch {
  const controller = new AbortController();
  const { signal } = controller;
  const frames = way.startsWith("REST")
    ? restFrames(server, way, token, bootId, signal)
    : rpcFrames(server, way, token, bootId, signal);
  return {
    next: async () => (await frames.next()).value,
    cancel: () => controller.abort(),
  };
}

/** The code of the error that ends a stream, after whatever comes before it. */
export async function endOf(watch: Watch): Promise<Code | "well"> {
  try {
    while ((await watch.next()) !== undefined);
    return "well";
  } catch (error) {
    return ConnectError.from(error).code;
  }
}

async function* rpcFrames(
  server: Pick<TestControlPlane, "httpUrl" | "grpcAddress">,
  way: WatchWay,
  token: string,
  bootId: string,
  signal: AbortSignal,
): AsyncGenerator<HeardCommand, undefined> {
  const { transport, close } = transportOf(server, way);
  const headers = { authorization: `Bearer ${token}` };
  try {
    const stream = createClient(AgentService, transport).watchCommands({ bootId }, { headers, signal });
    for await (const { command } of stream) {
      if (command === undefined) throw new Error("a message without a command");
      const { sequence, kind, taskId, reason } = command;
      yield { sequence: String(sequence), kind, taskId, reason };
    }
  } finally {
    close();
  }
}

function transportOf(
  { httpUrl: baseUrl, grpcAddress }: Pick<TestControlPlane, "httpUrl" | "grpcAddress">,
  way: WatchWay,
): { transport: Transport; close(): void } {
  if (way === WATCH_WAYS[0]) {
    const transport = createGrpcJsTransport(grpcAddress);
    return { transport, close: () => transport.close() };
  }
  const sessionManager = new Http2SessionManager(baseUrl);
  const close = () => sessionManager.abort();
  if (way === WATCH_WAYS[1]) return { transport: createGrpcTransport({ baseUrl, sessionManager }), close };
  const create = way === WATCH_WAYS[2] ? createConnectTransport : createGrpcWebTransport;
  return { transport: create({ baseUrl, httpVersion: "1.1" }), close };
}

async function* restFrames(
  { httpUrl }: Pick<TestControlPlane, "httpUrl">,
  way: WatchWay,
  token: string,
  bootId: string,
  signal: AbortSignal,
): AsyncGenerator<HeardCommand, undefined> {
  const accept = way === WATCH_WAYS[4] ? "application/x-ndjson" : "text/event-stream";
  const query = bootId === "" ? "" : `?bootId=${bootId}`;
  const headers = { authorization: `Bearer ${token}`, accept };
  const response = await fetch(`${httpUrl}/api/v1/agent/commands${query}`, { headers, signal });
  const body = response.body;
  if (body === null) throw new Error("an answer without a body");
  if (!response.ok) throw errorOf(await response.json());
  for await (const line of linesOf(body)) {
    const json = accept === "application/x-ndjson" ? line : line.match(/^data: (.*)$/)?.[1];
    if (json === undefined || json === "") continue;
    const frame = JSON.parse(json);
    if ("error" in frame) throw errorOf(frame);
    yield frame;
  }
}

async function* linesOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of body) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}

function errorOf({ error }: { error: { status: string; message: string } }): ConnectError {
  const name = error.status
    .toLowerCase()
    .replace(/(^|_)([a-z])/g, (_, __, letter: string) => letter.toUpperCase());
  return new ConnectError(error.message, Code[name as keyof typeof Code]); // the status names of codes
}
