import { type TlsProblem, tlsProblemOf } from "../runtime/tls-problem.ts";
import { Failure } from "./failure.ts";

// A connection that was never made is not retried: a person who forgot to start the server wants to hear it now.
const neverMade = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"]);
const lost = new Set(["ECONNRESET", "EPIPE", "ETIMEDOUT", "UND_ERR_SOCKET"]);

const tlsHints = {
  untrusted: "This machine trusts nobody who vouches for the server: name the roots with --ca or DROVER_CA.",
  "other-names": "The server's certificate is for other names than the one in --url.",
  expired:
    "The server's certificate has expired: its operator puts a new one in the place of DROVER_TLS_CERT.",
  "not-yet-valid": "The server's certificate is not valid yet: compare the clocks of both machines.",
  "certificate-wanted":
    "The server asks for a client certificate: give one with --client-cert and --client-key.",
  "certificate-refused":
    "The server does not take the certificate of --client-cert: DROVER_TLS_CLIENT_CA is who must have signed it.",
  "no-tls": "The server speaks no TLS at this address: try http.",
} satisfies Record<TlsProblem, string>;

/** Whether an error of `fetch` means that a connection broke that had been made. */
export function isConnectionLost(error: unknown): boolean {
  return lost.has(codeOf(error) ?? "");
}

/** The failure that an error of `fetch` means, for people. */
export function transportFailure(url: string, method: string, error: unknown): Failure {
  const code = codeOf(error);
  if (isConnectionLost(error)) {
    const message = `The connection to ${url} broke before an answer came (${code}).${doubt(method)}`;
    return new Failure("UNAVAILABLE", message, { kind: "transport", mayHaveArrived: true }, error);
  }
  const why = code === "ECONNREFUSED" ? "" : ` (${code ?? wordsOf(error)})`;
  const message = `No Drover server answers at ${url}${why}.`;
  const failure = new Failure("UNAVAILABLE", message, { kind: "transport", mayHaveArrived: false }, error);
  const problem = code === undefined ? undefined : tlsProblemOf(code);
  failure.hint = problem && tlsHints[problem];
  if (code === undefined || neverMade.has(code))
    failure.hint = "Start one with `drover serve`, or name another with --url or DROVER_URL.";
  return failure;
}

/** The failure of a call that got no answer in its time. */
export function timedOut(url: string, timeoutMs: number, method: string): Failure {
  const message = `${url} gave no answer within ${timeoutMs / 1000} s.${doubt(method)}`;
  const failure = new Failure("DEADLINE_EXCEEDED", message, { kind: "transport", mayHaveArrived: true });
  failure.hint = "Give it longer with --timeout.";
  return failure;
}

function doubt(method: string): string {
  return method === "GET" ? "" : " The call may have taken effect.";
}

function codeOf(error: unknown): string | undefined {
  // `fetch` hides the socket's error one level down.
  for (const one of [error instanceof Error ? error.cause : undefined, error]) {
    if (one instanceof Error && "code" in one && typeof one.code === "string") return one.code;
  }
  return undefined;
}

function wordsOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error ? cause.message : String(error);
}
