import type { Server as NetServer } from "node:net";
import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import {
  logVerbosity,
  Server,
  type ServerInterceptingCall,
  type ServerInterceptor,
  type ServerOptions,
  setLogVerbosity,
  status,
} from "@grpc/grpc-js";
import {
  type AdmitConnection,
  type BoundAddress,
  DEFAULT_GRACE_MS,
  type Door,
  LAST_WORDS_MS,
  MAX_MESSAGE_BYTES,
  pathsOfRequestStreams,
  type ServedService,
} from "./door.ts";
import type { OpenCall } from "./grpc-call.ts";
import { grpcCredentialsOf } from "./grpc-credentials.ts";
import { grpcServiceOf } from "./grpc-methods.ts";
import { cutStalledRequests, type RequestDeadlines } from "./stalled-requests.ts";
import type { TlsIdentity } from "./tls.ts";

export interface GrpcDoorOptions {
  /** A numeric address or a name; IPv6 without brackets. */
  readonly host: string;
  /** 0 takes any free port; `address` tells which. */
  readonly port: number;
  readonly services: readonly ServedService[];
  readonly interceptors: readonly Interceptor[];
  /** How long `stop` waits for calls in flight, in milliseconds. */
  readonly graceMs?: number;
  readonly deadlines?: Partial<RequestDeadlines>;
  /** Asked before a new connection is read; everybody is let in when left out. */
  readonly admit?: AdmitConnection;
  /** Serves TLS; cleartext when left out. */
  readonly tls?: TlsIdentity | undefined;
}

const DEFAULT_DEADLINES: RequestDeadlines = { firstBytesMs: 10_000, requestMs: 60_000 };

/**
 * The native door: gRPC on grpc-js, an adapter to the same Connect implementations and interceptors that the other
 * doors serve.
 *
 * What grpc-js decides before any code of ours, and differently from the other doors: of two `authorization`
 * headers the first counts (Node keeps no second one); an unknown `grpc-encoding` is refused only when a message is
 * in fact compressed; a `grpc-timeout` beyond 24.8 days overflows its timer and has passed at once; headers are
 * bounded by Node's 64 KiB and 128 names; a message cut short counts as no message (UNIMPLEMENTED).
 */
export function createGrpcDoor(options: GrpcDoorOptions): Door {
  const open = new Set<OpenCall>();
  const server = new Server(SERVER_OPTIONS);
  for (const served of options.services) {
    const { definition, handlers } = grpcServiceOf(served, [...options.interceptors], open);
    server.addService(definition, handlers);
  }
  const requestStreams = pathsOfRequestStreams(options.services);
  const endWatches: (() => void)[] = [];
  let bound: BoundAddress | undefined;
  let stopping: Promise<void> | undefined;
  return {
    get address() {
      if (bound === undefined) throw new Error("the gRPC door does not listen yet");
      return bound;
    },
    async start() {
      // grpc-js prints metadata that it cannot read, values included; a token must not reach a log that way.
      setLogVerbosity(logVerbosity.NONE);
      bound = { host: options.host, port: await bind(server, options) };
      const deadlines = { ...DEFAULT_DEADLINES, ...options.deadlines };
      for (const http2 of listenersOf(server)) {
        if (options.admit !== undefined) askBefore(http2, options.admit);
        endWatches.push(cutStalledRequests(http2, deadlines, (path) => requestStreams.has(path)));
      }
    },
    stop() {
      for (const end of endWatches) end();
      stopping ??= stop(server, bound, open, options.graceMs ?? DEFAULT_GRACE_MS);
      return stopping;
    },
  };
}

// grpc-js answers INTERNAL to a malformed grpc-timeout and to bytes that do not decompress, and sends it past every
// interceptor's responder. Its own call object is what reaches the first interceptor, so the method is replaced there.
const mendStatus: ServerInterceptor = (_method, call) => {
  const send = call.sendStatus.bind(call);
  call.sendStatus = (answer) => {
    const isCallersFault =
      answer.code === status.INTERNAL &&
      (answer.details === "Failed to decompress message" ||
        answer.details?.startsWith("Invalid grpc-timeout value"));
    send(isCallersFault ? { ...answer, code: status.INVALID_ARGUMENT } : answer);
  };
  // The declared class is one implementation of the interface that grpc-js really works with here.
  return call as ServerInterceptingCall;
};

const SERVER_OPTIONS: ServerOptions = {
  interceptors: [mendStatus],
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  // An agent needs one stream and a few calls; a proxy in front of many gets a connection each hundred or so.
  "grpc.max_concurrent_streams": 256,
  // A peer that vanished without a word is noticed by a ping that stays unanswered.
  "grpc.keepalive_time_ms": 60_000,
  "grpc.keepalive_timeout_ms": 20_000,
  // Counts connections without a call only, so that a quiet stream lives as long as its pings are answered.
  "grpc.max_connection_idle_ms": 300_000,
  // Bookkeeping for a debugging service that is not offered; it costs time and memory for each call.
  "grpc.enable_channelz": 0,
};

function bind(server: Server, options: GrpcDoorOptions): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(targetOf(options), grpcCredentialsOf(options.tls), (error, port) =>
      error === null ? resolve(port) : reject(error),
    );
  });
}

/**
 * The HTTP/2 servers by which grpc-js listens, one for each address that a name stands for. It has no public way to
 * them, and no bounds of its own for connections; its version is pinned, and tests/doors fails if a new one keeps them
 * elsewhere.
 */
function listenersOf(server: Server): NetServer[] {
  const { http2Servers } = server as unknown as { http2Servers: Map<NetServer, unknown> };
  return [...http2Servers.keys()];
}

/** Puts `admit` before all that a server does with a new connection. */
function askBefore(server: NetServer, admit: AdmitConnection): void {
  const serve = server.rawListeners("connection");
  server.removeAllListeners("connection");
  server.on("connection", (socket) =>
    admit(socket, () => {
      for (const listener of serve) listener.call(server, socket);
    }),
  );
}

const targetOf = ({ host, port }: BoundAddress) =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;

async function stop(
  server: Server,
  bound: BoundAddress | undefined,
  open: Set<OpenCall>,
  graceMs: number,
): Promise<void> {
  // Calls that take the hint at the end of the grace can still answer before their connection goes.
  const graceOver = setTimeout(() => stopAll([...open]), graceMs);
  // Without channelz, forceShutdown knows no connections, and tryShutdown only waits; drain is what cuts them off,
  // and only those that it has seen open.
  if (bound !== undefined) server.drain(targetOf(bound), graceMs + LAST_WORDS_MS);
  // grpc-js never hears of the end of a connection that is being torn down at this very moment, and would wait for it
  // for ever: past the time at which all others are cut off, nothing is left to wait for.
  let cutOff: NodeJS.Timeout | undefined;
  const closed = new Promise<void>((resolve) => {
    server.tryShutdown(() => resolve());
    cutOff = setTimeout(resolve, graceMs + 2 * LAST_WORDS_MS);
  });
  // Streams have no end of their own to wait for; calls do, and get the time for it.
  stopAll([...open].filter((call) => call.isStream));
  await closed;
  clearTimeout(cutOff);
  clearTimeout(graceOver);
}

function stopAll(calls: OpenCall[]): void {
  const reason = new ConnectError("the server is stopping", Code.Unavailable);
  for (const call of calls) call.stop(reason, LAST_WORDS_MS);
}
