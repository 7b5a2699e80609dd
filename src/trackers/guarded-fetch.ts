import { lookup } from "node:dns";
import { Agent, buildConnector, fetch as send } from "undici";
import {
  type AllowedHost,
  addressProblem,
  insideProblem,
  literalAddress,
  mayConnect,
} from "./address-guard.ts";
import { TrackerFailure } from "./tracker.ts";

export interface GuardSettings {
  /** Origin of the tracker: nothing else is ever asked, and no credential leaves for elsewhere. */
  baseUrl: string;
  allowed: readonly AllowedHost[];
  /** For one answer from the request to the end of its body. */
  timeoutMs: number;
  /** Of one answer, after decompression. */
  maxBytes: number;
}

export interface GuardedFetch {
  fetch(input: string | URL | Request, init?: RequestInit): Promise<Response>;
  close(): Promise<void>;
}

/**
 * A fetch that reaches one tracker and nothing else. Addresses are judged when a connection is made, by what that very
 * connection resolved, so that a name cannot change its meaning in between. Redirects are not followed.
 */
export function createGuardedFetch(settings: GuardSettings): GuardedFetch {
  const { allowed, timeoutMs, maxBytes } = settings;
  const base = new URL(settings.baseUrl);
  const dispatcher = new Agent({
    connect: guardedConnector(base, allowed, timeoutMs),
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    connections: 2,
    pipelining: 1,
  });
  return {
    async fetch(input, init = {}) {
      const url = new URL(input instanceof Request ? input.url : input);
      if (url.origin !== base.origin || addressProblem(url.origin, allowed) !== undefined) {
        throw new TrackerFailure("unreachable", "its answer leads to another address than its own");
      }
      const timeout = AbortSignal.timeout(timeoutMs);
      const signal = init.signal == null ? timeout : AbortSignal.any([init.signal, timeout]);
      try {
        const response = await send(url, {
          method: init.method ?? "GET",
          headers: Object.fromEntries(new Headers(init.headers)),
          redirect: "manual",
          signal,
          dispatcher,
        });
        const body = await readWithin(response.body, maxBytes);
        const headers = new Headers(Object.fromEntries(response.headers));
        // The body is decoded already.
        for (const name of ["content-encoding", "content-length"]) headers.delete(name);
        const { status } = response;
        return new Response(hasNoBody(status) ? null : body, { status, headers });
      } catch (error) {
        if (init.signal?.aborted) throw error;
        if (timeout.aborted) {
          throw new TrackerFailure("unreachable", `it did not answer within ${timeoutMs / 1000} s`, {
            cause: error,
          });
        }
        throw ownFailure(error) ?? error;
      }
    },
    close: () => dispatcher.destroy(),
  };
}

function guardedConnector(
  base: URL,
  allowed: readonly AllowedHost[],
  timeoutMs: number,
): buildConnector.connector {
  const refused = () => new TrackerFailure("unreachable", `its address ${insideProblem}`);
  const connect = buildConnector({
    timeout: timeoutMs,
    lookup(hostname, options, answer) {
      lookup(hostname, { ...options, all: true }, (error, addresses) => {
        if (error !== null) return answer(error, "", 0);
        // One bad address among good ones is a trick, or a mistake of the same effect.
        if (!addresses.every(({ address }) => mayConnect(base, address, allowed)))
          return answer(refused(), "", 0);
        const [first] = addresses;
        if (options.all === true) return answer(null, addresses);
        return answer(null, first?.address ?? "", first?.family ?? 0);
      });
    },
  });
  return (options, callback) => {
    // An address in place of a name is not looked up.
    const literal = literalAddress(base);
    if (literal !== undefined && !mayConnect(base, literal, allowed)) return callback(refused(), null);
    return connect(options, callback);
  };
}

async function readWithin(
  body: AsyncIterable<Uint8Array> | null,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body ?? []) {
    bytes += chunk.length;
    if (bytes > maxBytes)
      throw new TrackerFailure("bad-answer", `its answer is larger than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Uint8Array.from(Buffer.concat(chunks));
}

function hasNoBody(status: number): boolean {
  return status === 204 || status === 205 || status === 304;
}

/** The failure that the guard threw below fetch, which wraps what it meets. */
function ownFailure(error: unknown): TrackerFailure | undefined {
  for (let at = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth += 1) {
    if (at instanceof TrackerFailure) return at;
  }
  return undefined;
}
