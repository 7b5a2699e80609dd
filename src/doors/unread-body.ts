import { constants } from "node:http2";
import type { WebRequest, WebResponse } from "./web-handler.ts";

/** How long the rest of a body that nobody wants is read after the answer, before it is cut off. */
const MAX_DISCARD_MS = 5_000;

/**
 * Reads and drops the rest of a request that was answered before its end, such as one over the size cap. Left
 * alone, the rest would block an HTTP/1.1 connection for its next request and keep an HTTP/2 stream open; cut at
 * once, the connection could be reset before the caller has read why.
 */
export function discardUnreadBody(request: WebRequest, response: WebResponse): void {
  // The HTTP/2 response says "finish" only when its stream is closed, which is what this is here to bring about.
  const answered = "stream" in response ? response.stream : response;
  answered.once("finish", () => {
    if (!request.complete) discard(request);
  });
}

function discard(request: WebRequest): void {
  if (request.destroyed) {
    cut(request);
    return;
  }
  const deadline = setTimeout(() => cut(request), MAX_DISCARD_MS);
  deadline.unref();
  const callOff = () => clearTimeout(deadline);
  request.once("end", callOff);
  request.once("close", callOff);
  request.resume();
}

function cut(request: WebRequest): void {
  if ("stream" in request) request.stream.close(constants.NGHTTP2_NO_ERROR);
  else request.socket.destroy();
}
