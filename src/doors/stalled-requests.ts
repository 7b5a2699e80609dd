import type { EventEmitter } from "node:events";
import { constants, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";

/** How long clients on HTTP/2 may take, in ms. */
export interface RequestDeadlines {
  /** Until a new connection has said its settings. */
  readonly firstBytesMs: number;
  /** Until a request is complete. */
  readonly requestMs: number;
}

/**
 * Incomplete requests of one port at once, beyond which the oldest go: beginning one costs a few bytes, and its headers
 * and buffers many thousand. Honest requests are complete a moment after they began.
 */
const MAX_INCOMPLETE = 4_096;

/** A connection, for as long as it is open. */
interface Connection {
  readonly session: ServerHttp2Session;
  /** Its open streams, and the newest one whose headers were complete. */
  streams: number;
  newest: number;
  /** Since when a newer one has begun, as far as anybody looked; ms of the monotonic clock. */
  beganMs: number | undefined;
}

/**
 * Holds HTTP/2 to the deadlines that HTTP/1.1 has in Node and HTTP/2 has not: a connection that never speaks is cut
 * off, and so is a request whose headers or whose body do not come to their end. `mayLast` names the paths of requests that have none,
 * which are streams from the client. Returns what stops the watch.
 */
export function cutStalledRequests(
  server: EventEmitter,
  { firstBytesMs, requestMs }: RequestDeadlines,
  mayLast: (path: string) => boolean,
): () => void {
  /** When each request began that may still be incomplete, the oldest first; ms of the monotonic clock. */
  const began = new Map<ServerHttp2Stream, number>();
  const connections = new Set<Connection>();
  server.on("session", (session: ServerHttp2Session) => {
    const silent = setTimeout(() => session.destroy(), firstBytesMs);
    silent.unref();
    const spoke = () => clearTimeout(silent);
    session.once("remoteSettings", spoke);
    const connection: Connection = { session, streams: 0, newest: 0, beganMs: undefined };
    connections.add(connection);
    session.on("stream", (stream: ServerHttp2Stream) => {
      connection.newest = stream.id ?? connection.newest;
      connection.streams += 1;
      stream.once("close", () => {
        connection.streams -= 1;
      });
    });
    session.once("close", () => {
      spoke();
      connections.delete(connection);
    });
  });
  server.on("stream", (stream: ServerHttp2Stream, headers: Record<string, unknown>) => {
    if (stream.endAfterHeaders || mayLast(String(headers[":path"]))) return;
    if (began.size >= MAX_INCOMPLETE) cutOldest(began);
    began.set(stream, performance.now());
    const over = () => void began.delete(stream);
    stream.once("end", over);
    stream.once("close", over);
  });
  const look = setInterval(
    () => {
      const nowMs = performance.now();
      const late = nowMs - requestMs;
      for (const connection of connections) cutIfHeadersStall(connection, nowMs, late);
      for (const [stream, sinceMs] of began) {
        if (sinceMs > late) return;
        began.delete(stream);
        stream.close(constants.NGHTTP2_CANCEL);
      }
    },
    Math.ceil(requestMs / 4),
  );
  look.unref();
  return () => clearInterval(look);
}

/**
 * Nobody is told of headers before their end, but the library knows the newest stream that was begun. One that it refused
 * looks the same, so a connection with open streams is let be: it holds one unfinished header more at most.
 */
function cutIfHeadersStall(connection: Connection, nowMs: number, late: number): void {
  const { session, streams, newest } = connection;
  const hasBegun = streams === 0 && (session.state.lastProcStreamID ?? 0) > newest;
  if (!hasBegun) connection.beganMs = undefined;
  else if (connection.beganMs === undefined) connection.beganMs = nowMs;
  else if (connection.beganMs <= late) session.destroy();
}

function cutOldest(began: Map<ServerHttp2Stream, number>): void {
  for (const stream of began.keys()) {
    began.delete(stream);
    stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    return;
  }
}
