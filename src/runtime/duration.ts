const unitsMs: readonly (readonly [unit: string, ms: number])[] = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1_000],
  ["ms", 1],
];
/** The longest duration that can be written, 36,500 days in ms: a century is a typing error, not a setting. */
export const longestDurationMs = 36_500 * 86_400_000;

const durationPattern =
  /^(?:(\d{1,16})d)?(?:(\d{1,16})h)?(?:(\d{1,16})m)?(?:(\d{1,16}(?:\.\d{1,3})?)s)?(?:(\d{1,16})ms)?$/;

export type ParsedDuration =
  | { readonly kind: "ok"; readonly ms: number }
  /** `problem` completes a sentence that begins with the name of the setting. */
  | { readonly kind: "bad"; readonly problem: string };

/** Reads a duration such as "15s", "30d", "1h30m" or "250ms" into ms: the larger unit first, whole numbers but for seconds ("0.5s"). */
export function parseDuration(text: string): ParsedDuration {
  const match = text.length === 0 || text.length > 100 ? null : durationPattern.exec(text);
  if (match === null) {
    return bad(
      `must be a duration such as 250ms, 15s, 1h30m or 30d, not ${JSON.stringify(text.slice(0, 40))}`,
    );
  }
  const sum = unitsMs.reduce(
    (before, [, unitMs], index) => before + Number(match[index + 1] ?? 0) * unitMs,
    0,
  );
  // 1.001 s are 1000.9999999999999 ms to a double.
  const ms = Math.round(sum);
  if (ms > longestDurationMs) return bad(`must be at most ${printDuration(longestDurationMs)}, not ${text}`);
  return { kind: "ok", ms };
}

/** Writes whole ms in the form that `parseDuration` reads, the shortest one: 5400000 is "1h30m", 0 is "0s". */
export function printDuration(ms: number): string {
  if (!Number.isSafeInteger(ms) || ms < 0)
    throw new RangeError(`a duration is whole ms from 0 on, not ${ms}`);
  let rest = ms;
  let text = "";
  for (const [unit, unitMs] of unitsMs) {
    const count = Math.floor(rest / unitMs);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * unitMs;
  }
  return text === "" ? "0s" : text;
}

function bad(problem: string): ParsedDuration {
  return { kind: "bad", problem };
}
