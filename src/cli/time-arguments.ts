import { InvalidArgumentError } from "commander";

const unitsMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const DURATION = /^(\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/;
const PART = /(\d+(?:\.\d+)?)(ms|s|m|h|d)/g;
// 300 years: beyond every cap of the server, and safely within what a Date can hold.
const LONGEST_MS = 300 * 365 * 86_400_000;

/** Milliseconds of a duration such as 250ms, 90s, 10m, 1h30m or 30d. */
export function parseDurationMs(text: string): number {
  const ms = DURATION.test(text) ? sumMs(text) : Number.NaN;
  if (!(ms <= LONGEST_MS)) throw new InvalidArgumentError("Give a duration such as 90s, 10m, 1h30m or 30d.");
  return ms;
}

// Timers of Node hold 2^31 ms at most; a day is more than anyone waits for one call.
const LONGEST_TIMEOUT_MS = 86_400_000;

/** Milliseconds for which a call is waited for: more than none, at most a day. */
export function parseTimeoutMs(text: string): number {
  const ms = parseDurationMs(text);
  if (ms > 0 && ms <= LONGEST_TIMEOUT_MS) return ms;
  throw new InvalidArgumentError("Give a duration of more than 0 and at most 24h.");
}

function sumMs(text: string): number {
  let sum = 0;
  for (const [, amount, unit] of text.matchAll(PART)) {
    // PART lets no other unit through.
    sum += Number(amount) * unitsMs[unit as keyof typeof unitsMs];
  }
  return Math.round(sum);
}

/** A duration as proto3 JSON spells it: seconds, such as "600s" or "0.250s". */
export function protoDuration(ms: number): string {
  return ms % 1000 === 0 ? `${ms / 1000}s` : `${(ms / 1000).toFixed(3)}s`;
}

/** An instant in RFC 3339: given as one, as a date, or as a duration from `now` on (in ms since 1970). */
export function parseMoment(text: string, now: number): string {
  if (DURATION.test(text)) return new Date(now + parseDurationMs(text)).toISOString();
  return parseInstant(text, now);
}

/** An instant in RFC 3339: given as one, as a date, or as a duration that counts back from `now` (in ms since 1970). */
export function parseInstant(text: string, now: number): string {
  if (DURATION.test(text)) return new Date(now - parseDurationMs(text)).toISOString();
  const ms = /^\d{4}-\d{2}-\d{2}(T[\d:.]+(Z|[+-]\d{2}:\d{2}))?$/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(ms))
    throw new InvalidArgumentError(
      "Give a duration back from now, such as 1h, or a time such as 2030-01-31 or 2030-01-31T08:00:00Z.",
    );
  return new Date(ms).toISOString();
}
