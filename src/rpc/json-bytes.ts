import type { JsonValue } from "@bufbuild/protobuf";

/**
 * Bytes of UTF-8 that a value takes as compact JSON, as `JSON.stringify` would write it, at any depth: that one calls
 * itself and overflows on 6,000 levels, which fit in 12 KB. Counts no further than `enough` bytes, where the answer is
 * only known to be above it.
 */
export function compactJsonBytes(value: JsonValue, enough = Number.POSITIVE_INFINITY): number {
  const work: JsonValue[] = [value];
  let bytes = 0;
  while (work.length > 0 && bytes <= enough) {
    const next = work.pop() ?? null;
    if (typeof next !== "object" || next === null) bytes += scalarBytes(next);
    else if (Array.isArray(next)) {
      bytes += punctuation(next.length);
      for (const item of next) work.push(item);
    } else {
      const entries = Object.entries(next);
      bytes += punctuation(entries.length);
      for (const [key, child] of entries) {
        bytes += scalarBytes(key) + 1;
        work.push(child);
      }
    }
  }
  return bytes;
}

/** Two brackets and the commas between so many items. */
function punctuation(items: number): number {
  return 2 + Math.max(0, items - 1);
}

function scalarBytes(value: string | number | boolean | null): number {
  return Buffer.byteLength(JSON.stringify(value), "utf8");
}
