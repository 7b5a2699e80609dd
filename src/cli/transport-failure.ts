import { Failure } from "./failure.ts";

// A connection that was never made is not retried: a person who forgot to start the server wants to hear it now.
const neverMade = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"]);
const lost = new Set(["ECONNRESET", "EPIPE", "ETIMEDOUT", "UND_ERR_SOCKET"]);

const untrusted = new Set([
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]);

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
  failure.hint = tlsHint(code);
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

/** What to do about a handshake that failed. */
function tlsHint(code: string | undefined): string | undefined {
  if (code === undefined) return undefined;
  if (untrusted.has(code))
    return "This machine trusts nobody who vouches for the server: name the roots with --ca or DROVER_CA.";
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID")
    return "The server's certificate is for other names than the one in --url.";
  if (code.includes("ALERT_CERTIFICATE_REQUIRED") || code.includes("ALERT_HANDSHAKE_FAILURE"))
    return "The server asks for a client certificate: give one with --client-cert and --client-key.";
  if (code === "ERR_SSL_WRONG_VERSION_NUMBER" || code === "ERR_SSL_PACKET_LENGTH_TOO_LONG")
    return "The server speaks no TLS at this address: try http.";
  return undefined;
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
