import { createServer as createHttp1Server, type Server as Http1Server } from "node:http";
import { createServer as createHttp2Server, type Http2Server, type ServerHttp2Session } from "node:http2";
import type { AddressInfo, Server as NetServer } from "node:net";
import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import { inCall } from "../observability/call-scope.ts";
import { settledWithin } from "../runtime/settled-within.ts";
import { createCors } from "./cors.ts";
import {
  type AdmitConnection,
  type BoundAddress,
  DEFAULT_GRACE_MS,
  type Door,
  LAST_WORDS_MS,
  pathsOfRequestStreams,
  type ReportProblem,
  type ServedService,
} from "./door.ts";
import { normalizeHeaders } from "./normalize-headers.ts";
import { createPort } from "./port.ts";
import { REQUEST_ID_HEADER, requestIdOf } from "./request-id.ts";
import { createRpcRoutes } from "./rpc-routes.ts";
import { cutStalledRequests } from "./stalled-requests.ts";
import type { TlsIdentity } from "./tls.ts";
import { discardUnreadBody } from "./unread-body.ts";
import {
  sendRefusal,
  type WebCallEnds,
  type WebHandler,
  type WebRequest,
  type WebResponse,
} from "./web-handler.ts";

export interface WebDoorOptions {
  /** A numeric address or a name; IPv6 without brackets. */
  readonly host: string;
  /** 0 takes any free port; `address` tells which. */
  readonly port: number;
  readonly services: readonly ServedService[];
  readonly interceptors: readonly Interceptor[];
  /** What else the port serves, tried in order after the RPCs: REST, probes, pages. */
  readonly handlers?: readonly WebHandler[];
  /** Origins whose pages may call this port, such as `https://app.example`, or `*`. */
  readonly corsOrigins?: readonly string[];
  /** How long `stop` waits for calls in flight, in milliseconds. */
  readonly graceMs?: number;
  readonly timeouts?: Partial<WebTimeouts>;
  /** Asked before a new connection is read; everybody is let in when left out. */
  readonly admit?: AdmitConnection;
  /** Serves TLS; cleartext when left out. */
  readonly tls?: TlsIdentity | undefined;
  readonly report: ReportProblem;
}

/** How long a client may take, in milliseconds. */
export interface WebTimeouts {
  /** Until a new connection has said which protocol it speaks. */
  readonly firstBytesMs: number;
  /** Until an HTTP/1.1 request's headers are complete. */
  readonly headersMs: number;
  /** Until a request is complete; its answer, a stream for example, may take any time. */
  readonly requestMs: number;
}

const DEFAULT_TIMEOUTS: WebTimeouts = { firstBytesMs: 10_000, headersMs: 10_000, requestMs: 60_000 };

/** The web door: Connect, gRPC-Web, gRPC and plain HTTP handlers over HTTP/1.1 and HTTP/2 on one port. */
export function createWebDoor(options: WebDoorOptions): Door {
  const streamsEnd = new AbortController();
  const callsEnd = new AbortController();
  const listener = requestListener(options, streamsEnd.signal, callsEnd.signal);
  const timeouts = { ...DEFAULT_TIMEOUTS, ...options.timeouts };
  const http1 = createHttp1(listener, timeouts);
  const http2 = createHttp2(listener);
  const sessions = trackSessions(http2);
  const requestStreams = pathsOfRequestStreams(options.services);
  const endWatch = cutStalledRequests(http2, timeouts, (path) => requestStreams.has(path));
  const port = createPort({
    ...(options.admit && { admit: options.admit }),
    http1: (socket) => http1.emit("connection", socket),
    http2: (socket) => http2.emit("connection", socket),
    firstBytesTimeoutMs: timeouts.firstBytesMs,
    tls: options.tls,
  });
  let bound: BoundAddress | undefined;
  let stopping: Promise<void> | undefined;
  return {
    get address() {
      if (bound === undefined) throw new Error("the web door does not listen yet");
      return bound;
    },
    async start() {
      bound = await listen(port, options);
      // The HTTP/1 server never listens itself, and only this event starts the clock of its request deadlines.
      http1.emit("listening");
    },
    stop() {
      endWatch();
      stopping ??= stop({ port, http1, sessions, streamsEnd, callsEnd }, options.graceMs ?? DEFAULT_GRACE_MS);
      return stopping;
    },
  };
}

type RequestListener = (request: WebRequest, response: WebResponse) => void;

function requestListener(
  options: WebDoorOptions,
  streamsEnd: AbortSignal,
  callsEnd: AbortSignal,
): RequestListener {
  const { services, interceptors, report } = options;
  const cors = createCors(options.corsOrigins ?? []);
  const ends: WebCallEnds = { streams: streamsEnd, calls: callsEnd };
  const handlers = [
    createRpcRoutes({ services, interceptors, streamsEnd, callsEnd, report }),
    ...(options.handlers ?? []),
  ];
  return (request, response) => {
    // A connection that breaks tells its handlers by `close`; without a listener its error would end the process.
    request.on("error", () => {});
    response.on("error", () => {});
    discardUnreadBody(request, response);
    const requestId = requestIdOf(request.headers[REQUEST_ID_HEADER]?.toString());
    response.setHeader(REQUEST_ID_HEADER, requestId);
    if (cors(request, response)) return;
    normalizeHeaders(request);
    const scope = { isOpen: true, fields: () => ({ requestId }) };
    void inCall(scope, async () => {
      try {
        await dispatch(handlers, request, response, ends);
      } catch (error) {
        report(`${request.method} request failed`, error);
        if (response.headersSent) response.destroy();
        else sendRefusal(response, 500, "internal error");
      }
      scope.isOpen = false;
    });
  };
}

async function dispatch(
  handlers: readonly WebHandler[],
  request: WebRequest,
  response: WebResponse,
  ends: WebCallEnds,
): Promise<void> {
  for (const handle of handlers) if (await handle(request, response, ends)) return;
  sendRefusal(response, 404, "there is nothing at this path");
}

function createHttp1(listener: RequestListener, { headersMs, requestMs }: WebTimeouts): Http1Server {
  return createHttp1Server(
    {
      maxHeaderSize: 16 * 1024,
      headersTimeout: headersMs,
      requestTimeout: requestMs,
      // How often the two above are looked at.
      connectionsCheckingInterval: Math.ceil(headersMs / 4),
      keepAliveTimeout: 65_000,
    },
    listener,
  );
}

function createHttp2(listener: RequestListener): Http2Server {
  return createHttp2Server(
    {
      settings: { maxConcurrentStreams: 256, maxHeaderListSize: 16 * 1024, enablePush: false },
      maxHeaderListPairs: 128,
      // Megabytes for one connection: room for a handful of messages at the cap, not for all streams at once.
      maxSessionMemory: 32,
      maxSessionInvalidFrames: 100,
      maxSessionRejectedStreams: 100,
      // A client may cancel a thousand streams in a burst, and 33 a second from then on.
      streamResetBurst: 1000,
      streamResetRate: 33,
    },
    listener,
  );
}

/** How often a stopping door closes the connections that have become idle, in milliseconds. */
const CLOSE_IDLE_MS = 50;
/** How long an HTTP/2 connection without a stream is kept, in milliseconds. */
const IDLE_SESSION_MS = 300_000;

function trackSessions(server: Http2Server): Set<ServerHttp2Session> {
  const sessions = new Set<ServerHttp2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    let streams = 0;
    session.on("stream", (stream) => {
      streams += 1;
      stream.once("close", () => {
        streams -= 1;
      });
    });
    // The timer runs whenever nothing is sent; a quiet stream that somebody still watches is no idle connection.
    session.setTimeout(IDLE_SESSION_MS, () => {
      if (streams === 0) session.close();
    });
    session.on("error", () => session.destroy());
    session.once("close", () => sessions.delete(session));
  });
  server.on("sessionError", () => {});
  return sessions;
}

function listen(port: NetServer, { host, port: number }: WebDoorOptions): Promise<BoundAddress> {
  return new Promise((resolve, reject) => {
    port.once("error", reject);
    port.listen({ host, port: number }, () => {
      port.off("error", reject);
      // A string would be the path of a Unix socket, which this server is never asked to open.
      const address = port.address() as AddressInfo;
      resolve({ host: address.address, port: address.port });
    });
  });
}

interface Running {
  readonly port: NetServer;
  readonly http1: Http1Server;
  readonly sessions: Set<ServerHttp2Session>;
  readonly streamsEnd: AbortController;
  readonly callsEnd: AbortController;
}

async function stop(
  { port, http1, sessions, streamsEnd, callsEnd }: Running,
  graceMs: number,
): Promise<void> {
  const stopping = () => new ConnectError("the server is stopping", Code.Unavailable);
  // Resolves when the last connection is gone, also when the port never listened.
  const closed = new Promise<void>((resolve) => port.close(() => resolve()));
  // Streams have no end of their own to wait for; calls do, and get the time for it.
  streamsEnd.abort(stopping());
  for (const session of sessions) session.close();
  // A connection whose last answer has gone out would be kept for its caller's next call, for seconds.
  http1.closeIdleConnections();
  const closing = setInterval(() => http1.closeIdleConnections(), CLOSE_IDLE_MS);
  await settledWithin(closed, graceMs);
  callsEnd.abort(stopping());
  await settledWithin(closed, LAST_WORDS_MS);
  clearInterval(closing);
  http1.closeAllConnections();
  http1.close();
  for (const session of sessions) session.destroy();
  await closed;
}
