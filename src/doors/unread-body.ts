import type { IncomingMessage } from "node:http";
import type { WebRequest, WebResponse } from "./web-handler.ts";

/** How much of a body nobody wants is read after the answer, and for how long, before its connection is cut. */
const MAX_DISCARDED_BYTES = 8 * 1024 * 1024;
const MAX_DISCARD_MS = 5_000;

/**
 * Reads and drops the rest of an HTTP/1.1 request that was answered before its end, such as one over the size cap.
 * Left alone, the rest would block its connection for the next request; cut at once, the connection could be reset
 * before the caller has read why. HTTP/2 ends such a stream by itself.
 */
export function discardUnreadBody(request: WebRequest, response: WebResponse): void {
  if ("stream" in request || "stream" in response) return;
  response.once("finish", () => {
    if (!request.complete) discard(request);
  });
}

function discard(request: IncomingMessage): void {
  const { socket } = request;
  const cut = () => socket.destroy();
  if (request.destroyed) {
    cut();
    return;
  }
  let discarded = 0;
  const deadline = setTimeout(cut, MAX_DISCARD_MS);
  deadline.unref();
  request.on("data", (chunk: Buffer) => {
    discarded += chunk.length;
    if (discarded > MAX_DISCARDED_BYTES) cut();
  });
  request.once("close", () => clearTimeout(deadline));
}
