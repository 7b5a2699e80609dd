import { redacted } from "./secret-span.ts";

/* Where the value of a key ends in running text, for each way to write one. When in doubt, later rather than sooner. */

/** Whether a character is one of the three quotes. */
export function isQuote(character: string | undefined): boolean {
  return character === '"' || character === "'" || character === "`";
}

/** Whether this character separates values: blank, end of text, or a mark between pairs. */
export function isDelimiter(character: string | undefined): boolean {
  return character === undefined || /[\s,;:&)}\]>\\]/.test(character);
}

/** The index of the quote that closes the one at `start`, or the text's length. A doubled quote does not close. */
export function endOfQuoted(text: string, start: number): number {
  const quote = text[start];
  for (let at = start + 1; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === quote) {
      if (text[at + 1] !== quote) return at;
      at++;
    }
  }
  return text.length;
}

/** The index after the bracket that closes the one at `start`, or the text's length. */
export function endOfBracketed(text: string, start: number): number {
  let depth = 0;
  for (let at = start; at < text.length; at++) {
    const character = text.charAt(at);
    if (character === '"' || character === "'") at = endOfQuoted(text, at);
    else if (character === "{" || character === "[") depth++;
    else if (character === "}" || character === "]") {
      depth--;
      if (depth === 0) return at + 1;
    }
  }
  return text.length;
}

/** The end of a header's value: its line, also where line ends are written `\n`, or the quotes around the header. */
export function endOfLine(text: string, start: number, openingQuote: string): number {
  let at = afterRedacted(text, start);
  for (; at < text.length; at++) {
    const character = text.charAt(at);
    if (character === "\n" || character === "\r") break;
    if (character === "\\" && /[nr]/.test(text.charAt(at + 1))) break;
    if (character === openingQuote) break;
    if (isQuote(character) && /^(?:[,}\])]|$)/.test(text.charAt(at + 1))) break;
  }
  return trimmedEnd(text, start, at);
}

// Behind `,`, `;` or `&` a value goes on (`p,w;d`) unless the next pair begins there.
const nextPair = /[,;&][ \t]?["'`]?[A-Za-z0-9_.$[\]%-]{1,40}["'`]?[ \t]?[=:]/y;

/** The end of a value without quotes: a blank, a quote that closes something, or the next pair. */
export function endOfBare(text: string, start: number, openingQuote: string): number {
  let at = afterRedacted(text, start);
  while (at < text.length) {
    const character = text.charAt(at);
    if (/[\s<]/.test(character) || character === openingQuote) break;
    const behindEscapes = skipBackslashes(text, at);
    if (closesQuotes(text, behindEscapes)) break;
    nextPair.lastIndex = at;
    if (nextPair.test(text)) break;
    at = Math.max(at + 1, behindEscapes);
  }
  return trimmedEnd(text, start, at);
}

// A quote inside a value (`it's`) differs from one that ends what is around it (`connect('password=x')`) by what follows.
const closingQuote = /["'`][)\]}]{0,8}(?:[\s,;:&>\\]|\.(?:\s|$)|$)/y;

function closesQuotes(text: string, at: number): boolean {
  closingQuote.lastIndex = at;
  return closingQuote.test(text);
}

function skipBackslashes(text: string, from: number): number {
  let at = from;
  while (text[at] === "\\") at++;
  return at;
}

function afterRedacted(text: string, start: number): number {
  return text.startsWith(redacted, start) ? start + redacted.length : start;
}

/** Leaves the marks of the sentence around a value standing, yet never cuts into what was redacted before. */
function trimmedEnd(text: string, start: number, end: number): number {
  let at = end;
  while (at > start && /[\s.,;:!?)}\]&"'`]/.test(text.charAt(at - 1)) && !endsRedacted(text, start, at)) at--;
  return at;
}

function endsRedacted(text: string, start: number, end: number): boolean {
  return end - redacted.length >= start && text.startsWith(redacted, end - redacted.length);
}
