import type { Tone } from "./table.ts";

/** What stands where there is nothing. */
const NOTHING = "-";

export function orDash(value: string | number | undefined): string {
  return value === undefined || value === "" ? NOTHING : String(value);
}

/** An instant to the second, in UTC. */
export function instantText(value: string | undefined): string {
  const match = /^(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}:\d{2})(?:\.\d+)?Z$/.exec(value ?? "");
  return match === null ? orDash(value) : `${match[1]} ${match[2]}Z`;
}

/** Labels or gauges as key=value, in the order of their keys. */
export function pairsText(values: Readonly<Record<string, string | number>> | undefined): string {
  const pairs = Object.entries(values ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  return orDash(pairs.map(([key, value]) => `${key}=${value}`).join(","));
}

const tones: Readonly<Record<string, Tone>> = {
  online: "good",
  busy: "good",
  benchmarked: "good",
  live: "good",
  running: "good",
  succeeded: "good",
  ok: "good",
  synced: "good",
  stale: "warning",
  draining: "warning",
  cordoned: "warning",
  warning: "warning",
  minor: "warning",
  cancelled: "warning",
  unfinished: "warning",
  rate_limited: "warning",
  error: "bad",
  offline: "bad",
  failed: "bad",
  quarantined: "bad",
  interrupted: "bad",
  major: "bad",
  critical: "bad",
  fatal: "bad",
};

/** The tone of a status, a liveness, a severity or a task's state. */
export function toneOf(word: string | undefined): Tone | undefined {
  return word === undefined || !Object.hasOwn(tones, word) ? undefined : tones[word];
}
