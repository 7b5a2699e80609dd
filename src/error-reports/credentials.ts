import type { SecretSpan } from "./secret-span.ts";

/* Credentials that are known by what stands around them: keys in PEM, authorization schemes, passwords in URLs. */

/** Finds private keys in PEM, credentials after `Bearer` and `Basic`, and passwords in URLs. */
export function findCredentials(text: string): SecretSpan[] {
  return [...findPrivateKeys(text), ...findSchemes(text), ...findUrlPasswords(text)];
}

const pemBegin = /-----BEGIN[ +](?:[A-Z0-9]{1,20}[ +]){0,3}PRIVATE[ +]KEY(?:[ +]BLOCK)?-----/g;
const pemEnd = /-----END[ +](?:[A-Z0-9]{1,20}[ +]){0,3}PRIVATE[ +]KEY(?:[ +]BLOCK)?-----/g;

function* findPrivateKeys(text: string): Generator<SecretSpan> {
  let from = 0;
  for (;;) {
    pemBegin.lastIndex = from;
    const begin = pemBegin.exec(text);
    if (begin === null) return;
    pemEnd.lastIndex = begin.index;
    const closing = pemEnd.exec(text);
    // A key that was cut off has no end line; what is there of it goes to the end of the text.
    from = closing === null ? text.length : closing.index + closing[0].length;
    yield { start: begin.index, end: from };
  }
}

const schemePattern = /(?<![A-Za-z0-9])(bearer|basic)[ \t+]+([A-Za-z0-9._~+/=:-]+)/gi;
// `Bearer realm=…` is a server's challenge, and the words are those of sentences about bearer tokens.
const noCredential =
  /^(?:(?:tokens?|auth|authentication|authorization|credentials?|scheme|header|realm|error|is|was|not|or|and|required|missing|expired|invalid)[.:]*$|(?:realm|error|scope)=)/i;
const plainWord = /^[A-Za-z]?[a-z]*$/;

function* findSchemes(text: string): Generator<SecretSpan> {
  for (const match of text.matchAll(schemePattern)) {
    const [whole, scheme = "", value = ""] = match;
    if (noCredential.test(value)) continue;
    // What follows `Basic` is base64 of name and password, which is never one plain word ("basic configuration").
    if (scheme.toLowerCase() === "basic" && (value.length < 6 || plainWord.test(value.replace(/[.:]$/, ""))))
      continue;
    const end = match.index + whole.length;
    yield { start: end - value.length, end };
  }
}

// Found by looking back, since the colon of the next `://` can end this authority: `amqp://a:b@h,amqp://…`.
const authorityPattern = /(?<=:\/\/)[^\s/?#"<>`]+/g;
const longestFallback = 256;

function* findUrlPasswords(text: string): Generator<SecretSpan> {
  for (const match of text.matchAll(authorityPattern)) {
    const start = match.index;
    const authority = match[0];
    // The colons of an address in brackets part nothing.
    const colon = authority.indexOf(":", authority.startsWith("[") ? authority.indexOf("]") : 0);
    if (colon < 0) continue;
    const at = authority.lastIndexOf("@");
    const end =
      at >= 0 ? start + at : endOfUnencodedPassword(text, start + colon + 1, start + authority.length);
    if (end > start + colon + 1) yield { start: start + colon + 1, end };
  }
}

/**
 * A password that holds `/`, `?` or `#` as it is ends the authority too early; its `@` comes later. Not so when the
 * digits of a port stand there, or when no `@` follows in the same word. Returns -1 then.
 */
function endOfUnencodedPassword(text: string, passwordStart: number, authorityEnd: number): number {
  if (/^\d{0,5}$/.test(text.slice(passwordStart, Math.min(authorityEnd, passwordStart + 6)))) return -1;
  const rest = /^[^\s"<>`@]*@(?:[^\s"<>`@/?#]*@)*/.exec(
    text.slice(authorityEnd, authorityEnd + longestFallback),
  );
  return rest === null ? -1 : authorityEnd + rest[0].length - 1;
}
