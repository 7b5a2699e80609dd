import { ConnectError } from "@connectrpc/connect";
import { type TlsProblem, tlsProblemOf } from "../runtime/tls-problem.ts";

const tlsWords = {
  untrusted: "nobody whom this agent trusts vouches for the server's certificate: name the roots that do",
  "other-names": "the server's certificate is for other names than its address",
  expired: "the server's certificate has expired",
  "not-yet-valid": "the server's certificate is not valid yet, or the clock of this machine is behind",
  "certificate-wanted": "the server asks for a client certificate, and gets none",
  "certificate-refused": "the server does not take this agent's client certificate",
  "no-tls": "the server speaks no TLS at this address: try http",
} satisfies Record<TlsProblem, string>;

/** Where a connection led to. */
export interface Destination {
  readonly url: string;
  /** Whether a Drover server had answered by it. */
  readonly answered: boolean;
}

const wordsOfCode: Readonly<Record<string, (url: string) => string>> = {
  ECONNREFUSED: (url) => `Nothing listens at ${url}`,
  ENOTFOUND: (url) => `Nobody knows the name in ${url}`,
  EAI_AGAIN: (url) => `The name in ${url} could not be looked up`,
  EHOSTUNREACH: (url) => `There is no way to ${url}`,
  ENETUNREACH: (url) => `There is no way to ${url}`,
  ETIMEDOUT: (url) => `${url} does not answer`,
};

/** How HTTP/2 says that a connection or a stream is over; servers say nothing that begins like this. */
const BROKEN = /^http\/2 (stream|connection) closed with error code |^PING timed out$/;
const brokenCodes = new Set(["ECONNRESET", "EPIPE", "ERR_HTTP2_STREAM_CANCEL", "ERR_HTTP2_INVALID_SESSION"]);
const PROXY = /^HTTP (\d{3})$/;

/** What is wrong with a connection, as a sentence. */
export interface ConnectionFailure {
  readonly message: string;
  /** Whether there is nobody at the other end for now, whatever code the transport has for it. */
  readonly isAway: boolean;
}

/** Undefined where the error is none of the connection but an answer of the server, which has words of its own. */
export function connectionFailureOf(
  error: unknown,
  { url, answered }: Destination,
): ConnectionFailure | undefined {
  const codes = [...codesOf(error)];
  for (const code of codes) {
    const problem = tlsProblemOf(code);
    if (problem !== undefined)
      return { message: `No TLS connection to ${url}: ${tlsWords[problem]} (${code}).`, isAway: false };
    const words = wordsOfCode[code]?.(url);
    if (words !== undefined) return { message: `${words} (${code}).`, isAway: true };
  }
  const said = error instanceof ConnectError ? error.rawMessage : "";
  if (BROKEN.test(said) || codes.some((code) => brokenCodes.has(code)))
    return { message: answered ? `The connection to ${url} was lost.` : sayClosed(url), isAway: true };
  const status = PROXY.exec(said)?.[1];
  if (status !== undefined)
    return { message: `${url} answers HTTP ${status}, and not as a Drover server does.`, isAway: false };
  if (codes.includes("ERR_HTTP2_ERROR"))
    return { message: `${url} speaks no HTTP/2: is it the server's native gRPC port?`, isAway: false };
  return undefined;
}

/** A server that is killed does so once; what is no native door, or speaks the other scheme, always. */
function sayClosed(url: string): string {
  const scheme = url.startsWith("https:") ? "http" : "https";
  return `${url} closed the connection without an answer; if that lasts, it is not the native gRPC port, or wants ${scheme}.`;
}

/** Node's codes of an error and of what caused it. */
function* codesOf(error: unknown): Generator<string> {
  for (let one = error; one instanceof Error; one = one.cause) {
    const code: unknown = Reflect.get(one, "code");
    if (typeof code === "string") yield code;
  }
}
