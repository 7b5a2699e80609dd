import { createConnectTransport, createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { afterAll, beforeAll } from "vitest";
import { type BrowserPage, createBrowserClient, openBrowserPage } from "./browser-client.ts";
import { type ControlPlaneOptions, startControlPlane, type TestControlPlane } from "./control-plane.ts";
import { clientOfTransport, type DoorClient } from "./door-client.ts";
import { createGrpcJsTransport } from "./grpc-js-transport.ts";
import { createRestClient } from "./rest-client.ts";

/** Every way in. */
export const DOORS = [
  "gRPC by grpc-js on the native port",
  "gRPC by connect-node over h2c",
  "Connect by connect-node over HTTP/1.1",
  "gRPC-Web by connect-web in Chromium",
  "Connect JSON by connect-web in Chromium",
  "REST",
] as const;

export type DoorName = (typeof DOORS)[number];

/** The doors of one server, with a client for each. */
export interface DoorSuite {
  readonly server: TestControlPlane;
  readonly page: BrowserPage;
  door(name: DoorName): DoorClient;
  /** Any door, for what a test needs beside its subject. */
  readonly anyDoor: DoorClient;
}

/** Starts a server and a browser before the tests of a file, and stops them after. */
export function useDoors(options: ControlPlaneOptions = {}): DoorSuite {
  let opened:
    | { server: TestControlPlane; page: BrowserPage; clients: Record<DoorName, DoorClient> }
    | undefined;
  const get = () => {
    if (opened === undefined)
      throw new Error("the doors open before the first test, not before the file is read");
    return opened;
  };
  beforeAll(async () => {
    const page = await openBrowserPage();
    const settings = { DROVER_CORS_ORIGINS: page.origin, ...options.settings };
    const server = await startControlPlane({ ...options, settings });
    opened = { server, page, clients: openClients(server, page) };
  });
  afterAll(async () => {
    if (opened === undefined) return;
    const { server, page, clients } = opened;
    await Promise.all(Object.values(clients).map((client) => client.close()));
    await page.close();
    await server.stop();
  });
  return {
    get server() {
      return get().server;
    },
    get page() {
      return get().page;
    },
    get anyDoor() {
      return get().clients["gRPC by grpc-js on the native port"];
    },
    door: (name) => get().clients[name],
  };
}

function openClients(
  { httpUrl, grpcAddress }: TestControlPlane,
  page: BrowserPage,
): Record<DoorName, DoorClient> {
  const native = createGrpcJsTransport(grpcAddress);
  const sessionManager = new Http2SessionManager(httpUrl);
  const h2c = createGrpcTransport({ baseUrl: httpUrl, sessionManager });
  const connect = createConnectTransport({ baseUrl: httpUrl, httpVersion: "1.1", useBinaryFormat: true });
  return {
    "gRPC by grpc-js on the native port": clientOfTransport(native, () => native.close()),
    "gRPC by connect-node over h2c": clientOfTransport(h2c, () => sessionManager.abort()),
    "Connect by connect-node over HTTP/1.1": clientOfTransport(connect, () => {}),
    "gRPC-Web by connect-web in Chromium": createBrowserClient(page, httpUrl, "grpc-web"),
    "Connect JSON by connect-web in Chromium": createBrowserClient(page, httpUrl, "connect"),
    REST: createRestClient(httpUrl),
  };
}
