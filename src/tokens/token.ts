import { createHash, timingSafeEqual } from "node:crypto";
import { crc32 } from "node:zlib";
import { decodeBase62, encodeBase62 } from "./base62.ts";

/** What a credential may be used for; fixed when it is made. */
export const tokenRoles = ["agent", "runner", "enrollment", "operator", "viewer"] as const;
/** One of `tokenRoles`. */
export type TokenRole = (typeof tokenRoles)[number];

const codeOfRole = {
  agent: "agt",
  runner: "run",
  enrollment: "enr",
  operator: "opr",
  viewer: "vwr",
} as const satisfies Record<TokenRole, string>;

const roleOfCode: ReadonlyMap<string, TokenRole> = new Map(
  tokenRoles.map((role) => [codeOfRole[role], role]),
);

export type ParsedToken =
  | { readonly kind: "ok"; readonly role: TokenRole; readonly id: string; readonly secret: string }
  | { readonly kind: "malformed" };

const secretBytes = 32;
// 43 characters are the fewest that hold 256 bits, 6 the fewest that hold 32.
const secretWidth = 43;
const checksumWidth = 6;
const idWidth = 32;
/** Characters of every well-formed token: `drv`, role, id, secret and checksum with four underscores between. */
export const tokenLength = 3 + 3 + idWidth + secretWidth + checksumWidth + 4;

const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
// The id stands in the token as hex, not base62: a leaked token's row is then found by eye.
const tokenPattern = /^drv_([a-z]{3})_([0-9a-f]{32})_([0-9A-Za-z]{43})_([0-9A-Za-z]{6})$/;

/**
 * Writes the token `drv_<role>_<id>_<secret>_<checksum>` of the row `id` (a UUID in lower case with hyphens) from 32
 * random bytes. Throws RangeError for any other id or number of bytes.
 */
export function mintToken(role: TokenRole, id: string, randomBytes: Uint8Array): string {
  if (!uuidPattern.test(id)) throw new RangeError(`a token's id must be a lower-case UUID, not "${id}"`);
  if (randomBytes.length !== secretBytes) {
    throw new RangeError(`a token's secret takes ${secretBytes} bytes, not ${randomBytes.length}`);
  }
  const body = `drv_${codeOfRole[role]}_${id.replaceAll("-", "")}_${encodeBase62(randomBytes, secretWidth)}`;
  return `${body}_${checksumOf(body)}`;
}

/** Reads a token's parts, the id as a UUID with hyphens; `malformed` for whatever `mintToken` cannot have written. */
export function parseToken(text: string): ParsedToken {
  // The length comes first, so that a megabyte in a header costs no more than a typing error.
  const match = text.length === tokenLength ? tokenPattern.exec(text) : null;
  if (match === null) return { kind: "malformed" };
  const [, code = "", hex = "", secret = "", checksum = ""] = match;
  const role = roleOfCode.get(code);
  if (role === undefined || checksum !== checksumOf(text.slice(0, -checksumWidth - 1)))
    return { kind: "malformed" };
  // 43 characters can count a little past 256 bits; such a secret was never minted.
  if (decodeBase62(secret, secretBytes) === undefined) return { kind: "malformed" };
  return { kind: "ok", role, id: withHyphens(hex), secret };
}

/** SHA-256 of a token's secret part, 32 bytes: the only form of it that is ever stored. */
export function hashSecret(secret: string): Buffer {
  return createHash("sha256").update(secret, "utf8").digest();
}

const absentHash = Buffer.alloc(32);

/**
 * Whether a secret belongs to a stored hash, in a time that tells nothing about either. Without a hash (no such token)
 * the answer is false and takes as long as a comparison.
 */
export function secretMatches(secret: string, storedHash: Uint8Array | undefined): boolean {
  const comparable = storedHash !== undefined && storedHash.length === absentHash.length;
  const equal = timingSafeEqual(hashSecret(secret), comparable ? storedHash : absentHash);
  return comparable && equal;
}

function checksumOf(body: string): string {
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(body));
  return encodeBase62(sum, checksumWidth);
}

function withHyphens(hex: string): string {
  const parts = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)];
  return parts.join("-");
}
