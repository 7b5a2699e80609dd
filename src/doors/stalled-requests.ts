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

/**
 * Holds HTTP/2 to the deadlines that HTTP/1.1 has in Node and HTTP/2 has not: a connection that never speaks is cut
 * off, and so is a request whose body does not come to its end. `mayLast` names the paths of requests that have none,
 * which are streams from the client. Returns what stops the watch.
 */
export function cutStalledRequests(
  server: EventEmitter,
  { firstBytesMs, requestMs }: RequestDeadlines,
  mayLast: (path: string) => boolean,
): () => void {
  /** When each request began that may still be incomplete, the oldest first; ms of the monotonic clock. */
  const began = new Map<ServerHttp2Stream, number>();
  server.on("session", (session: ServerHttp2Session) => {
    const silent = setTimeout(() => session.destroy(), firstBytesMs);
    silent.unref();
    const spoke = () => clearTimeout(silent);
    session.once("remoteSettings", spoke);
    session.once("close", spoke);
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
      const late = performance.now() - requestMs;
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

function cutOldest(began: Map<ServerHttp2Stream, number>): void {
  for (const stream of began.keys()) {
    began.delete(stream);
    stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    return;
  }
}
