import type { AuditEntry } from "../../../../gen/drover/v1/event_service_pb.js";
import { msOf } from "../../format.ts";

/** A span of time in which a field had one value; times in ms since 1970. */
export interface Span {
  readonly value: string;
  readonly fromMs: number;
  readonly toMs: number;
}

/**
 * The values that a field had between two moments, from its audit entries in any order and the value it has now. What
 * was before the oldest entry is told by that entry's `from`.
 */
export function planTimeline(
  entries: readonly AuditEntry[],
  field: string,
  present: string,
  fromMs: number,
  toMs: number,
): Span[] {
  const changes = entries
    .filter((entry) => entry.field === field)
    .map((entry) => ({ from: entry.from, to: entry.to, atMs: msOf(entry.time) ?? 0 }))
    .sort((a, b) => a.atMs - b.atMs);
  const spans: Span[] = [];
  const add = (value: string, startMs: number, endMs: number) => {
    const [from, to] = [Math.max(startMs, fromMs), Math.min(endMs, toMs)];
    if (to > from && value !== "") spans.push({ value, fromMs: from, toMs: to });
  };
  let value = changes[0]?.from ?? present;
  let sinceMs = fromMs;
  for (const change of changes) {
    add(value, sinceMs, change.atMs);
    value = change.to;
    sinceMs = change.atMs;
  }
  add(value, sinceMs, toMs);
  return spans;
}
