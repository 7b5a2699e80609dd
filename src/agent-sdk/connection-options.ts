import type { JsonObject } from "@bufbuild/protobuf";
import { type Client, createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";

/** TLS for https addresses, as node:tls takes it; texts are PEM. */
export interface TlsOptions {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly servername?: string;
}

/** Where the servers are. */
export interface ServerOptions {
  /**
   * Address of the native gRPC port, such as http://127.0.0.1:9090; https for TLS. Several servers of one fleet in a list,
   * or with commas: the agent begins with any of them, and turns to the next one when one is lost or sends it away.
   */
  readonly url: string | readonly string[];
  readonly tls?: TlsOptions | undefined;
}

/** One server of them. */
export interface ServerAddress {
  readonly url: string;
  readonly tls?: TlsOptions | undefined;
}

/** What an agent says of itself; left out means unchanged at the server. */
export interface AgentProfile {
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly capabilities?: readonly string[] | undefined;
  readonly deviceInfo?: JsonObject | undefined;
}

/** One connection of its own, and the client that speaks over it. */
export interface OpenConnection {
  readonly client: Client<typeof AgentService>;
  close(): void;
}

// Below the minute after which proxies and NATs forget a silent connection, and above what servers call a flood.
const PING_INTERVAL_MS = 20_000;
const PING_TIMEOUT_MS = 10_000;

/**
 * A connection raises an error for each piece of what it cannot read, and its manager hears the first alone: the second
 * would be nobody's, and end the process.
 */
class SessionManager extends Http2SessionManager {
  override async request(...request: Parameters<Http2SessionManager["request"]>) {
    const stream = await super.request(...request);
    stream.session?.on("error", () => undefined);
    return stream;
  }
}

/**
 * Prepares a connection that is used for one session stream or one call, and closed with it: what was broken about
 * one is never carried into the next.
 */
export function openConnection({ url, tls }: ServerAddress): OpenConnection {
  const sessionManager = new SessionManager(
    url,
    { pingIntervalMs: PING_INTERVAL_MS, pingTimeoutMs: PING_TIMEOUT_MS },
    tls === undefined ? {} : { ...tls },
  );
  const transport = createGrpcTransport({ baseUrl: url, sessionManager, readMaxBytes: 4 * 1024 * 1024 });
  return { client: createClient(AgentService, transport), close: () => sessionManager.abort() };
}

export function bearer(token: string): { authorization: string } {
  return { authorization: `Bearer ${token}` };
}
