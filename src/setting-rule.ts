/** What a setting's rule is made of. */

/** How one setting is named, told of, and read; `key` is its place among the parsed ones. */
export interface SettingRule<Key extends string> {
  env: string;
  default: string;
  description: string;
  key: Key;
  parse: (text: string) => Parsed;
  /** Its value may hold a password and is not repeated in messages. */
  secret?: true;
}

/** `problem` goes on from the setting's name: "must be …". */
export type Parsed = { ok: true; value: unknown } | { ok: false; problem: string };

export function good(value: unknown): Parsed {
  return { ok: true, value };
}

export function bad(problem: string): Parsed {
  return { ok: false, problem };
}

/** A number of digits, with a fraction of at most six. */
export function parseNumber(text: string, fits: (value: number) => boolean, words: string): Parsed {
  const value = /^\d{1,7}(?:\.\d{1,6})?$/.test(text) ? Number(text) : Number.NaN;
  return fits(value) ? good(value) : bad(`must be ${words}`);
}

/** What stands between commas, without spaces around it. */
export function listOf(text: string): string[] {
  return text
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "");
}
