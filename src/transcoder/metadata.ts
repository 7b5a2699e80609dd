import type { IncomingMessage } from "node:http";

/** Headers that belong to one connection, or to HTTP's own framing of a body; they are nobody's metadata. */
const NOT_METADATA = new Set([
  "connection",
  "content-encoding",
  "content-length",
  "expect",
  "http2-settings",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** Headers of a response that the transcoder writes itself. */
const NOT_RESPONSE_METADATA = new Set([...NOT_METADATA, "content-type", "date"]);

/**
 * A request's headers as metadata. Read from the raw ones, since Node keeps only the first of two Authorization
 * headers: here both arrive, joined by a comma, so that no such request is taken for its first half.
 */
export function requestMetadata(req: IncomingMessage): Headers {
  const headers = new Headers();
  const connection = connectionHeaders(req);
  const raw = req.rawHeaders;
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = (raw[index] ?? "").toLowerCase();
    // HTTP/2 lists its pseudo headers among them.
    if (name.startsWith(":") || NOT_METADATA.has(name) || connection?.includes(name)) continue;
    headers.append(name, raw[index + 1] ?? "");
  }
  return headers;
}

/** The headers that the Connection header declares to be the connection's own. */
function connectionHeaders(req: IncomingMessage): string[] | undefined {
  const value = req.headers.connection;
  if (value === undefined || value === "keep-alive") return undefined;
  return value.split(",").map((name) => name.trim().toLowerCase());
}

/** Metadata as response headers, trailers after headers of the same name. */
export function responseHeaders(...metadata: Headers[]): Record<string, string | string[]> {
  const result: Record<string, string | string[]> = {};
  for (const headers of metadata) {
    for (const [name, value] of headers) {
      if (NOT_RESPONSE_METADATA.has(name) || name === "set-cookie") continue;
      const existing = result[name];
      result[name] = existing === undefined ? value : `${String(existing)}, ${value}`;
    }
    // Cookies hold commas, so that they cannot be joined.
    const cookies = headers.getSetCookie();
    if (cookies.length > 0) result["set-cookie"] = [...[result["set-cookie"] ?? []].flat(), ...cookies];
  }
  return result;
}
