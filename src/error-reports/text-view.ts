/*
 * A text as its reader would decode it, with the way back. Secrets hide behind encodings, `\"password\":\"x\"` inside
 * JSON or `%22password%22%3A%22x%22` inside a URL; what is found in the decoded view is cut out of the text itself.
 */

export type TextView = {
  readonly text: string;
  /** Where the unit of `text` at an index begins in the original; one entry more than `text`, for its end. */
  readonly startAt: (index: number) => number;
};

// Deeper nesting would need a longer original than any limit allows to matter, since escapes double each time.
const mostLevels = 4;

/** The text itself, then decoded once, twice and so on while decoding changes it. Takes time in proportion to its length. */
export function* viewsOf(original: string): Generator<TextView> {
  let view: TextView = { text: original, startAt: (index) => index };
  yield view;
  for (let level = 1; level <= mostLevels; level++) {
    const decoded = decode(view);
    if (decoded === undefined) return;
    yield decoded;
    view = decoded;
  }
}

const escapePattern =
  /\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(["'`\\/nrtbf]))|%([0-7][0-9a-fA-F])|&(quot|apos|amp|lt|gt|#34|#39);/g;

const letters: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", b: "\b", f: "\f" };
const entities: Readonly<Record<string, string>> = {
  quot: '"',
  apos: "'",
  amp: "&",
  lt: "<",
  gt: ">",
  "#34": '"',
  "#39": "'",
};

function decode(view: TextView): TextView | undefined {
  const parts: string[] = [];
  // Offsets change only behind an escape, so that one entry an escape says it for all that follows.
  const ends: number[] = [];
  const shifts: number[] = [];
  let length = 0;
  let taken = 0;
  for (const match of view.text.matchAll(escapePattern)) {
    const [whole, unicode, byte, letter, percent, entity] = match;
    const literal = view.text.slice(taken, match.index);
    parts.push(literal, decodedEscape(unicode ?? byte ?? percent, letter, entity));
    length += literal.length + 1;
    taken = match.index + whole.length;
    ends.push(length);
    shifts.push(taken - length);
  }
  if (ends.length === 0) return undefined;
  parts.push(view.text.slice(taken));
  return { text: parts.join(""), startAt: (index) => view.startAt(index + shiftAt(ends, shifts, index)) };
}

function decodedEscape(
  hex: string | undefined,
  letter: string | undefined,
  entity: string | undefined,
): string {
  if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
  if (letter !== undefined) return letters[letter] ?? letter;
  return entities[entity ?? ""] ?? "";
}

/** The shift of the last escape that ends at or before `index`, by bisection. */
function shiftAt(ends: readonly number[], shifts: readonly number[], index: number): number {
  let low = 0;
  let high = ends.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ends[middle] ?? 0) <= index) low = middle + 1;
    else high = middle;
  }
  return low === 0 ? 0 : (shifts[low - 1] ?? 0);
}
