import { isSecretHeader, isSecretKey } from "./secret-key.ts";
import { redacted, type SecretSpan } from "./secret-span.ts";
import { endOfBare, endOfBracketed, endOfLine, endOfQuoted, isDelimiter, isQuote } from "./value-end.ts";

/*
 * Pairs of a secret key and its value in running text: `password=x`, `"apiKey": "x"`, `{'token': x}`, `?jwt=x&…`,
 * `Cookie: a=b; c=d`, `--password x`. One walk from separator to separator; every value is passed over once.
 */

const separatorPattern = /[:=]+>?/g;
const flagPattern = /(?<![^\s"'`])--([A-Za-z][A-Za-z0-9-]*)[ \t]+/g;
const literal = /^(?:null|true|false|none|nil|undefined)$/i;
const schemeWord = /^(?:bearer|basic|digest|token|negotiate|ntlm|apikey)$/i;
const mostBlanks = 8;

/** Finds the values of secret keys. */
export function findKeyValues(text: string): SecretSpan[] {
  return [...findSeparated(text), ...findFlags(text)];
}

function* findSeparated(text: string): Generator<SecretSpan> {
  let from = 0;
  for (;;) {
    separatorPattern.lastIndex = from;
    const separator = separatorPattern.exec(text);
    if (separator === null) return;
    from = separator.index + separator[0].length;
    // `Token::new` and `session://…` are no pairs.
    if (separator[0].includes("::") || (separator[0] === ":" && text.startsWith("//", from))) continue;
    const name = readKey(text, separator.index);
    if (name === undefined || !isSecretKey(name.words)) continue;
    const header = separator[0] === ":" && isSecretHeader(name.words);
    const span = readValue(text, skipBlanks(text, from), name, header);
    if (span === undefined) continue;
    from = span.end;
    yield span;
  }
}

function* findFlags(text: string): Generator<SecretSpan> {
  for (const match of text.matchAll(flagPattern)) {
    const start = match.index + match[0].length;
    if (!isSecretKey(match[1] ?? "") || text[start] === "-") continue;
    const span = readValue(text, start, { quoteAt: undefined, openingQuote: "" }, false);
    if (span !== undefined) yield span;
  }
}

type KeyQuotes = {
  /** Where a quote closes the key, as in JSON: a value without quotes gets the same ones. */
  readonly quoteAt: number | undefined;
  /** A quote right before a key that has none behind: it closes after the value, `"Cookie: a=b"`. Empty without. */
  readonly openingQuote: string;
};

/** Reads the key that ends before a separator; `words` begins one word earlier, for `api key: …`. */
function readKey(text: string, separator: number): (KeyQuotes & { readonly words: string }) | undefined {
  let end = separator;
  while (end > separator - 4 && isBlank(text[end - 1])) end--;
  const quoteAt = isQuote(text[end - 1]) ? end - 1 : undefined;
  end = quoteAt ?? end;
  const start = startOfKey(text, end);
  // A key without a letter belongs to no word before it: `session 12:30`.
  if (start === end || !/\p{L}/u.test(text.slice(start, end))) return undefined;
  const wordsStart = isBlank(text[start - 1]) ? startOfKey(text, start - 1) : start;
  const opening = text.charAt(wordsStart - 1);
  const openingQuote = quoteAt === undefined && isQuote(opening) ? opening : "";
  return { words: text.slice(wordsStart, end), quoteAt, openingQuote };
}

const keyCharacter = /[\p{L}\p{N}_.\-$@[\]()]/u;

function startOfKey(text: string, end: number): number {
  let start = end;
  while (start > 0 && keyCharacter.test(text.charAt(start - 1))) start--;
  return start;
}

function readValue(text: string, start: number, key: KeyQuotes, header: boolean): SecretSpan | undefined {
  const first = text[start];
  if (first === undefined || first === "\n" || first === "\r") return undefined;
  if (isQuote(first)) {
    const end = endOfQuoted(text, start);
    if (end > start + 1) return { start: start + 1, end };
    // `""` holds nothing; `''x''` is no quoted value.
    if (isDelimiter(text[end + 1])) return undefined;
  }
  if ((first === "{" || first === "[") && !text.startsWith(redacted, start)) {
    return spanOf(start, endOfBracketed(text, start), key);
  }
  if (header) return spanOf(start, endOfLine(text, start, key.openingQuote), key);
  return readBare(text, start, key);
}

function readBare(text: string, start: number, key: KeyQuotes): SecretSpan | undefined {
  const end = endOfBare(text, start, key.openingQuote);
  const value = text.slice(start, end);
  if (literal.test(value)) return undefined;
  if (!schemeWord.test(value) || !isBlank(text[end])) return spanOf(start, end, key);
  const credential = skipBlanks(text, end);
  return spanOf(start, Math.max(end, endOfBare(text, credential, key.openingQuote)), key);
}

function spanOf(start: number, end: number, key: KeyQuotes): SecretSpan | undefined {
  if (end <= start) return undefined;
  return key.quoteAt === undefined ? { start, end } : { start, end, quoteAt: key.quoteAt };
}

function skipBlanks(text: string, from: number): number {
  let at = from;
  while (at < from + mostBlanks && isBlank(text[at])) at++;
  return at;
}

function isBlank(character: string | undefined): boolean {
  return character === " " || character === "\t";
}
