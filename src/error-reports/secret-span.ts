/** What stands where a secret stood. */
export const redacted = "[REDACTED]";

/**
 * A secret found in a text, from `start` up to before `end`. `quoteAt`: where a quote stands that has to be written on
 * both sides of the replacement, so that `"token":5` stays JSON; undefined for none.
 */
export type SecretSpan = { readonly start: number; readonly end: number; readonly quoteAt?: number };

/** A piece of a text and what replaces it. */
export type Replacement = { readonly start: number; readonly end: number; readonly by: string };

/** Replaces the pieces in the text; those that touch or overlap become one. */
export function replaceAll(text: string, replacements: readonly Replacement[]): string {
  const parts: string[] = [];
  let taken = 0;
  for (const { start, end, by } of merge(replacements)) {
    parts.push(text.slice(taken, start), by);
    taken = end;
  }
  parts.push(text.slice(taken));
  return parts.join("");
}

function merge(replacements: readonly Replacement[]): Replacement[] {
  const merged: Replacement[] = [];
  for (const next of replacements.toSorted((a, b) => a.start - b.start || b.end - a.end)) {
    const last = merged.at(-1);
    if (last === undefined || next.start > last.end) merged.push(next);
    else if (next.end > last.end) {
      // Neither covers the other, so that the quotes which one of them would write may not fit.
      merged[merged.length - 1] = { start: last.start, end: next.end, by: redacted };
    }
  }
  return merged;
}
