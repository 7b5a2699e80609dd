import type { Timestamp } from "@bufbuild/protobuf/wkt";

/** Milliseconds since 1970 of a message's time; undefined where it has none. */
export function msOf(time: Timestamp | undefined): number | undefined {
  return time === undefined ? undefined : Number(time.seconds) * 1000 + Math.floor(time.nanos / 1e6);
}

const units: readonly [ms: number, name: string][] = [
  [31_536_000_000, "y"],
  [2_592_000_000, "mo"],
  [86_400_000, "d"],
  [3_600_000, "h"],
  [60_000, "min"],
  [1000, "s"],
];

/** A span as people say it, in its largest unit: "3 min". */
export function span(ms: number): string {
  for (const [unit, name] of units) if (ms >= unit) return `${Math.floor(ms / unit)} ${name}`;
  return "0 s";
}

/** A span in its two largest units: "3 min 20 s". */
export function exactSpan(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const index = units.findIndex(([unit]) => ms >= unit);
  const [unit, name] = units[index] ?? [1000, "s"];
  const [lower, lowerName] = units[index + 1] ?? [0, ""];
  const rest = lower === 0 ? 0 : Math.floor((ms % unit) / lower);
  return `${Math.floor(ms / unit)} ${name}${rest > 0 ? ` ${rest} ${lowerName}` : ""}`;
}

/** How long ago something was, in one unit. */
export function ago(atMs: number, nowMs: number): string {
  const ms = nowMs - atMs;
  if (ms < -1500) return `in ${span(-ms)}`;
  return ms < 1500 ? "now" : `${span(ms)} ago`;
}

const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });

export const clockTime = (ms: number): string => clock.format(ms);
export const fullTime = (ms: number): string => `${day.format(ms)}, ${clock.format(ms)}`;

const exact = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 2 });

export const count = (value: number): string => exact.format(value);
/** A measurement: 1.4B, 12.5. */
export const measure = (value: number): string => short.format(value);
export const percent = (share: number): string => `${Math.floor(share * 100)} %`;
export const plural = (number: number, one: string, many = `${one}s`): string =>
  `${count(number)} ${number === 1 ? one : many}`;

/** An id that fits into a cell: the end of a UUIDv7 is its random part. */
export const shortId = (id: string): string => id.slice(-8);
