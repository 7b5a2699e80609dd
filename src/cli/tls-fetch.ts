import { request as httpsRequest } from "node:https";
import { Readable } from "node:stream";
import type { TlsOptions } from "./tls-options.ts";

/** As much of `fetch` as the command line uses. */
export type Fetch = (url: string, init: FetchInit) => Promise<Response>;

export interface FetchInit {
  method: string;
  headers: Record<string, string>;
  signal: AbortSignal;
  redirect: "manual";
  body?: string;
}

/** `fetch`, or where TLS is to be done in a way that Node's own cannot be told, the same by node:https. */
export function fetchWith(tls: TlsOptions | undefined): Fetch {
  return (url, init) =>
    tls === undefined || !url.startsWith("https:") ? fetch(url, init) : fetchByHttps(url, init, tls);
}

function fetchByHttps(
  url: string,
  { method, headers, signal, body }: FetchInit,
  tls: TlsOptions,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    // Errors look like those of `fetch`, which hides the socket's own one level down.
    const fail = (cause: unknown) => reject(new TypeError("fetch failed", { cause }));
    const request = httpsRequest(url, { method, headers, signal, ...tls }, (answer) => {
      const received = new Headers();
      for (const [name, values] of Object.entries(answer.headersDistinct)) {
        for (const value of values ?? []) received.append(name, value);
      }
      const status = answer.statusCode ?? 0;
      const hasBody = status !== 204 && status !== 304;
      const stream = hasBody ? (Readable.toWeb(answer) as ReadableStream<Uint8Array>) : null;
      resolve(new Response(stream, { status, headers: received }));
    });
    request.once("error", fail);
    request.end(body);
  });
}
