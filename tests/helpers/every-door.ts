import type { Interceptor, Transport } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
  Http2SessionManager,
} from "@connectrpc/connect-node";
import type { BoundAddress, Door, ServedService } from "../../src/doors/door.ts";
import { createGrpcDoor, type GrpcDoorOptions } from "../../src/doors/grpc-door.ts";
import { createWebDoor, type WebDoorOptions } from "../../src/doors/web-door.ts";
import { createGrpcJsTransport } from "./grpc-js-transport.ts";

export interface OpenDoors {
  readonly grpc: Door;
  readonly web: Door;
  /** `host:port` of the native door. */
  readonly grpcTarget: string;
  /** `http://host:port` of the web door. */
  readonly webUrl: string;
  /** What the web door reported, newest last. */
  readonly problems: unknown[];
  stop(): Promise<void>;
}

export interface OpenDoorsOptions
  extends Partial<Omit<WebDoorOptions, "services" | "interceptors" | "report">>,
    Pick<GrpcDoorOptions, "deadlines"> {
  readonly services: readonly ServedService[];
  readonly interceptors?: readonly Interceptor[];
}

/** Opens both doors on free ports, before the same services. */
export async function openDoors(options: OpenDoorsOptions): Promise<OpenDoors> {
  const problems: unknown[] = [];
  const shared = { host: "127.0.0.1", port: 0, interceptors: [], graceMs: 2000, ...options };
  const grpc = createGrpcDoor(shared);
  const web = createWebDoor({ ...shared, report: (problem, error) => problems.push([problem, error]) });
  await Promise.all([grpc.start(), web.start()]);
  return {
    grpc,
    web,
    problems,
    grpcTarget: targetOf(grpc.address),
    webUrl: `http://${targetOf(web.address)}`,
    stop: async () => {
      await Promise.all([grpc.stop(), web.stop()]);
    },
  };
}

const targetOf = ({ host, port }: BoundAddress) => `${host}:${port}`;

/** Every way to call an RPC that needs no browser. `speaksBidi` is false where HTTP/1.1 stands in the way. */
export const WAYS = [
  "grpc-js to the native door",
  "connect-node gRPC to the native door",
  "gRPC over h2c",
  "gRPC-Web over HTTP/1.1",
  "gRPC-Web over h2c",
  "Connect binary over HTTP/1.1",
  "Connect binary over h2c",
  "Connect JSON over HTTP/1.1",
  "Connect JSON over h2c",
] as const;

export type Way = (typeof WAYS)[number];

/** A transport for one way; `close` ends its connections. */
export function transportFor(
  way: Way,
  doors: OpenDoors,
): { transport: Transport; speaksBidi: boolean; close(): void } {
  if (way === "grpc-js to the native door") {
    const transport = createGrpcJsTransport(doors.grpcTarget);
    return { transport, speaksBidi: true, close: () => transport.close() };
  }
  const baseUrl =
    way === "connect-node gRPC to the native door" ? `http://${doors.grpcTarget}` : doors.webUrl;
  const sessionManager = new Http2SessionManager(baseUrl);
  const close = () => sessionManager.abort();
  const http1 = { baseUrl, httpVersion: "1.1" as const };
  const http2 = { baseUrl, httpVersion: "2" as const, sessionManager };
  switch (way) {
    case "connect-node gRPC to the native door":
    case "gRPC over h2c":
      return { transport: createGrpcTransport({ baseUrl, sessionManager }), speaksBidi: true, close };
    case "gRPC-Web over HTTP/1.1":
      return { transport: createGrpcWebTransport(http1), speaksBidi: false, close };
    case "gRPC-Web over h2c":
      return { transport: createGrpcWebTransport(http2), speaksBidi: true, close };
    case "Connect binary over HTTP/1.1":
    case "Connect JSON over HTTP/1.1":
      return {
        transport: createConnectTransport({ ...http1, useBinaryFormat: way.includes("binary") }),
        speaksBidi: false,
        close,
      };
    case "Connect binary over h2c":
    case "Connect JSON over h2c":
      return {
        transport: createConnectTransport({ ...http2, useBinaryFormat: way.includes("binary") }),
        speaksBidi: true,
        close,
      };
  }
}
