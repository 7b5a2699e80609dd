import { type TlsProblem, tlsProblemOf } from "../runtime/tls-problem.ts";

const words = {
  untrusted: "nobody whom this agent trusts vouches for the server's certificate: name the roots that do",
  "other-names": "the server's certificate is for other names than its address",
  expired: "the server's certificate has expired",
  "not-yet-valid": "the server's certificate is not valid yet, or the clock of this machine is behind",
  "certificate-wanted": "the server asks for a client certificate, and gets none",
  "certificate-refused": "the server does not take this agent's client certificate",
  "no-tls": "the server speaks no TLS at this address: try http",
} satisfies Record<TlsProblem, string>;

/** A handshake that failed, in words; OpenSSL's own name the place in its sources. Undefined where it is none. */
export function sayTlsFailure(error: unknown): string | undefined {
  for (let one = error; one instanceof Error; one = one.cause) {
    const code: unknown = Reflect.get(one, "code");
    const problem = typeof code === "string" ? tlsProblemOf(code) : undefined;
    if (problem !== undefined) return `No TLS connection: ${words[problem]} (${String(code)}).`;
  }
  return undefined;
}
