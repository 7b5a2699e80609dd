import { sendHeaders, type WebRequest, type WebResponse } from "./web-handler.ts";

const ALLOWED_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE";

const ALLOWED_HEADERS = [
  "accept",
  "authorization",
  "connect-accept-encoding",
  "connect-content-encoding",
  "connect-protocol-version",
  "connect-timeout-ms",
  "content-encoding",
  "content-type",
  "grpc-timeout",
  "last-event-id",
  "traceparent",
  "tracestate",
  "x-drover-project",
  "x-grpc-web",
  "x-request-id",
  "x-server-timeout",
  "x-user-agent",
].join(", ");

const EXPOSED_HEADERS = [
  "content-encoding",
  "connect-content-encoding",
  "grpc-message",
  "grpc-status",
  "grpc-status-details-bin",
  "retry-after",
  "www-authenticate",
  "x-request-id",
].join(", ");

// Browsers cap this themselves, Chromium at two hours.
const PREFLIGHT_MAX_AGE_SECONDS = 7200;

/**
 * Builds the cross-origin gate of the whole port. It sets the response's CORS headers, and returns true when the
 * request was a preflight and is answered with that. Credentials are never allowed: tokens travel in a header, not
 * in cookies. Without origins it does nothing.
 */
export function createCors(
  origins: readonly string[],
): (request: WebRequest, response: WebResponse) => boolean {
  if (origins.length === 0) return () => false;
  const allowed = new Set(origins);
  const allowsAny = allowed.has("*");
  return (request, response) => {
    // Also on answers without the header: a cache must not give one origin's answer to another.
    if (!allowsAny) response.setHeader("vary", "Origin");
    const { origin } = request.headers;
    const isPreflight =
      request.method === "OPTIONS" && request.headers["access-control-request-method"] !== undefined;
    if (origin !== undefined && (allowsAny || allowed.has(origin))) {
      response.setHeader("access-control-allow-origin", allowsAny ? "*" : origin);
      if (isPreflight) allowPreflight(response);
      else response.setHeader("access-control-expose-headers", EXPOSED_HEADERS);
    }
    if (!isPreflight) return false;
    sendHeaders(response, 204);
    response.end();
    return true;
  };
}

function allowPreflight(response: WebResponse): void {
  response.setHeader("access-control-allow-methods", ALLOWED_METHODS);
  response.setHeader("access-control-allow-headers", ALLOWED_HEADERS);
  response.setHeader("access-control-max-age", PREFLIGHT_MAX_AGE_SECONDS);
}
