import { expect, test } from "vitest";
import { refusalOf } from "../../src/agent-sdk/agent-error.ts";

/** As node:tls tells it, below what the transport makes of it. */
function failure(code: string): Error {
  const cause = Object.assign(new Error("C0B6FF:error:0A00045C:SSL routines:ssl3_read_bytes"), { code });
  return new Error("it failed", { cause });
}

test.each([
  ["SELF_SIGNED_CERT_IN_CHAIN", "nobody whom this agent trusts"],
  ["UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "nobody whom this agent trusts"],
  ["ERR_TLS_CERT_ALTNAME_INVALID", "is for other names"],
  ["CERT_HAS_EXPIRED", "has expired"],
  ["CERT_NOT_YET_VALID", "not valid yet"],
  ["ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED", "asks for a client certificate"],
  ["ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE", "asks for a client certificate"],
  ["ERR_SSL_TLSV1_ALERT_UNKNOWN_CA", "does not take"],
  ["ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED", "does not take"],
  ["ERR_SSL_WRONG_VERSION_NUMBER", "speaks no TLS"],
])("%s is said in words", (code, words) => {
  const { message } = refusalOf(failure(code));
  expect(message).toContain(words);
  expect(message).toContain(code);
  expect(message).not.toContain("SSL routines");
});

test("what is no matter of TLS keeps its own words", () => {
  expect(refusalOf(failure("ECONNREFUSED")).message).toBe("it failed");
});
