/** Why a handshake failed, as a client can tell. */
export type TlsProblem =
  /** The client trusts nobody who vouches for the server. */
  | "untrusted"
  | "other-names"
  | "expired"
  | "not-yet-valid"
  /** The server wants a certificate of the client. */
  | "certificate-wanted"
  /** The server does not take the certificate that the client shows. */
  | "certificate-refused"
  | "no-tls";

const problems: readonly (readonly [RegExp, TlsProblem])[] = [
  [/^(DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN)$/, "untrusted"],
  [/^UNABLE_TO_(GET_ISSUER_CERT(_LOCALLY)?|VERIFY_LEAF_SIGNATURE)$/, "untrusted"],
  [/^ERR_TLS_CERT_ALTNAME_INVALID$/, "other-names"],
  [/^CERT_HAS_EXPIRED$/, "expired"],
  [/^CERT_NOT_YET_VALID$/, "not-yet-valid"],
  // TLS 1.2 has no alert of its own for it.
  [/_ALERT_(CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE)$/, "certificate-wanted"],
  [
    /_ALERT_(UNKNOWN_CA|(BAD|UNSUPPORTED)_CERTIFICATE|CERTIFICATE_(EXPIRED|UNKNOWN|REVOKED))$/,
    "certificate-refused",
  ],
  [/^ERR_SSL_(WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG)$/, "no-tls"],
];

/** What a code of node:tls means; undefined for codes of anything else. */
export function tlsProblemOf(code: string): TlsProblem | undefined {
  return problems.find(([pattern]) => pattern.test(code))?.[1];
}
