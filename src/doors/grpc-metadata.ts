import { Metadata } from "@grpc/grpc-js";

/**
 * gRPC metadata as Headers; binary values stay base64, as Connect expects of names that end in -bin. Throws a
 * TypeError for a name that HTTP does not know.
 */
export function headersFromMetadata(metadata: Metadata): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(metadata.toHttp2Headers())) {
    if (Array.isArray(value)) for (const one of value) headers.append(name, one);
    else if (value !== undefined) headers.append(name, String(value));
  }
  return headers;
}

/**
 * Headers as gRPC metadata, without the names that the protocol itself writes. Undefined when nothing is left, so
 * that the common call allocates nothing.
 */
export function metadataFromHeaders(headers: Headers): Metadata | undefined {
  let metadata: Metadata | undefined;
  for (const [name, value] of headers) {
    if (isProtocolHeader(name)) continue;
    metadata ??= new Metadata();
    if (name.endsWith("-bin")) {
      for (const one of value.split(",")) metadata.add(name, Buffer.from(one.trim(), "base64"));
    } else {
      // grpc-js throws on anything but printable ASCII, and a lost answer is worse than a lost letter.
      metadata.add(name, value.replace(/[^ -~]/g, "?"));
    }
  }
  return metadata;
}

// HTTP/2 refuses the connection headers, and a second content-type or grpc-status would contradict the first.
const HTTP_HEADERS = new Set([
  "connection",
  "content-encoding",
  "content-length",
  "content-type",
  "date",
  "host",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "user-agent",
]);

function isProtocolHeader(name: string): boolean {
  return name.startsWith("grpc-") || HTTP_HEADERS.has(name);
}
