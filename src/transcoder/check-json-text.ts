import { findBadText, itemPath, MAX_VIOLATIONS, memberPath, type Violation } from "./violation.ts";

/** What a look at JSON as text finds: nothing but `tooDeep` is known of a text that is too deep. */
export interface JsonTextFindings {
  tooDeep: boolean;
  violations: Violation[];
  /** Integers that lose digits as doubles, which is wrong but where a double is what is wanted. */
  rounded: RoundedInteger[];
}

/** An integer beyond 2^53: the names and indices that lead to it, and what is wrong with it. */
export interface RoundedInteger {
  path: (string | number)[];
  violation: Violation;
}

interface Frame {
  /** Names seen so far, of an object; undefined for an array. */
  names: Names | undefined;
  name: string;
  index: number;
}

/** A set that is a list while it is small: most objects have few names, and a list costs a third of a Set then. */
class Names {
  readonly #few: string[] = [];
  #many: Set<string> | undefined;

  /** Whether the name is new. */
  add(name: string): boolean {
    if (this.#many === undefined) {
      if (this.#few.includes(name)) return false;
      this.#few.push(name);
      if (this.#few.length === 16) this.#many = new Set(this.#few);
      return true;
    }
    const isNew = !this.#many.has(name);
    this.#many.add(name);
    return isNew;
  }
}

const OPENING_BRACE = 0x7b;
const OPENING_BRACKET = 0x5b;
const CLOSING_BRACE = 0x7d;
const CLOSING_BRACKET = 0x5d;
const COMMA = 0x2c;
const COLON = 0x3a;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const MINUS = 0x2d;
const ZERO = 0x30;
const NINE = 0x39;
const LARGEST_INTEGER = String(2 ** 53);
const NUMBER = /[-+0-9.eE]+/y;
const COLON_AFTER_SPACE = /[ \t\r\n]+:/y;

/**
 * Looks in JSON text for what JSON.parse would hide: nesting beyond `maxDepth`, keys given twice, integers that a
 * double cannot hold, NUL and lone surrogates behind escapes. A loop, so that depth costs no stack. The text
 * need not be valid: JSON.parse decides that afterwards. `root` is the path that violations begin with.
 */
export function checkJsonText(text: string, maxDepth: number, root = ""): JsonTextFindings {
  return new JsonTextCheck(text, maxDepth, root).run();
}

class JsonTextCheck {
  readonly #text: string;
  readonly #maxDepth: number;
  readonly #root: string;
  readonly #frames: Frame[] = [];
  readonly #violations: Violation[] = [];
  readonly #rounded: RoundedInteger[] = [];
  readonly #hasEscapes: boolean;

  constructor(text: string, maxDepth: number, root: string) {
    this.#hasEscapes = text.includes("\\");
    this.#text = text;
    this.#maxDepth = maxDepth;
    this.#root = root;
  }

  run(): JsonTextFindings {
    const text = this.#text;
    const frames = this.#frames;
    for (let position = 0; position < text.length; position++) {
      const code = text.charCodeAt(position);
      if (code === QUOTE) {
        position = this.#readString(position);
      } else if (code === OPENING_BRACE || code === OPENING_BRACKET) {
        if (frames.length === this.#maxDepth) return { tooDeep: true, violations: [], rounded: [] };
        frames.push({ names: code === OPENING_BRACE ? new Names() : undefined, name: "", index: 0 });
      } else if (code === CLOSING_BRACE || code === CLOSING_BRACKET) {
        frames.pop();
      } else if (code === COMMA) {
        const frame = frames.at(-1);
        if (frame !== undefined) frame.index++;
      } else if (code === MINUS || (code >= ZERO && code <= NINE)) {
        position = this.#readNumber(position);
      }
    }
    return { tooDeep: false, violations: this.#violations, rounded: this.#rounded };
  }

  /** Returns the position of the closing quote. */
  #readString(opening: number): number {
    const closing = this.#findClosingQuote(opening);
    if (closing < 0) return this.#text.length;
    const frame = this.#frames.at(-1);
    const isKey = frame?.names !== undefined && this.#isFollowedByColon(closing + 1);
    if (!isKey && !this.#hasEscapes) return closing;
    const raw = this.#text.slice(opening + 1, closing);
    const isEscaped = this.#hasEscapes && raw.includes("\\");
    const value = isEscaped ? unescapeString(raw) : raw;
    if (isKey) this.#noteKey(frame, value);
    // Without an escape there is neither: the bytes were valid UTF-8, and JSON.parse refuses a raw NUL.
    const problem = isEscaped ? findBadText(value) : undefined;
    if (problem !== undefined) this.#report(problem);
    return closing;
  }

  #findClosingQuote(opening: number): number {
    let closing = this.#text.indexOf('"', opening + 1);
    while (this.#hasEscapes && closing >= 0 && isEscapedAt(this.#text, closing)) {
      closing = this.#text.indexOf('"', closing + 1);
    }
    return closing;
  }

  /** A string before a colon is a key. */
  #isFollowedByColon(position: number): boolean {
    if (this.#text.charCodeAt(position) === COLON) return true;
    COLON_AFTER_SPACE.lastIndex = position;
    return COLON_AFTER_SPACE.test(this.#text);
  }

  #noteKey(frame: Frame, name: string): void {
    frame.name = name;
    if (frame.names?.add(name) === false) this.#report("is given twice");
  }

  /** Returns the position of the number's last character. */
  #readNumber(start: number): number {
    NUMBER.lastIndex = start;
    const literal = NUMBER.exec(this.#text)?.[0] ?? "-";
    if (isInfinite(literal)) this.#report("is a number beyond the range of doubles");
    else if (literal.length >= LARGEST_INTEGER.length && isBeyondDouble(literal)) this.#reportRounded();
    return start + literal.length - 1;
  }

  #reportRounded(): void {
    if (this.#rounded.length === MAX_VIOLATIONS) return;
    const path = this.#frames.map(({ names, name, index }) => (names === undefined ? index : name));
    const description =
      "is an integer beyond 2^53, which JSON numbers cannot carry exactly; send it as a string";
    this.#rounded.push({ path, violation: { field: this.#path(), description } });
  }

  #report(description: string): void {
    if (this.#violations.length === MAX_VIOLATIONS) return;
    this.#violations.push({ field: this.#path(), description });
  }

  #path(): string {
    let path = this.#root;
    for (const frame of this.#frames) {
      path = frame.names === undefined ? itemPath(path, frame.index) : memberPath(path, frame.name);
    }
    return path;
  }
}

/** No number of fewer digits and without an exponent reaches that far. */
function isInfinite(literal: string): boolean {
  return (literal.length > 300 || /[eE]/.test(literal)) && Math.abs(Number(literal)) === Infinity;
}

/** Compares digits as text, since a number of a million digits would cost dearly as a BigInt. */
function isBeyondDouble(literal: string): boolean {
  const digits = /^-?(\d+)$/.exec(literal)?.[1];
  if (digits === undefined || digits.length < LARGEST_INTEGER.length) return false;
  return digits.length > LARGEST_INTEGER.length || digits > LARGEST_INTEGER;
}

/** Whether the quote at this position is preceded by an odd number of backslashes. */
function isEscapedAt(text: string, quote: number): boolean {
  let count = 0;
  while (text.charCodeAt(quote - 1 - count) === BACKSLASH) count++;
  return count % 2 === 1;
}

function unescapeString(raw: string): string {
  try {
    const value: unknown = JSON.parse(`"${raw}"`);
    return typeof value === "string" ? value : raw;
  } catch {
    return raw;
  }
}
