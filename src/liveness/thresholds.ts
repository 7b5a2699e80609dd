import { printDuration } from "../runtime/duration.ts";

/** When an agent that is not heard counts as stale, and when as offline. */
export interface LivenessThresholds {
  /** Time between an agent's heartbeats. */
  readonly intervalMs: number;
  /** In intervals. */
  readonly staleAfter: number;
  /** In intervals; the grace comes on top. */
  readonly offlineAfter: number;
  readonly offlineGraceMs: number;
}

/** After how much silence an agent is stale, in ms. */
export function staleAfterMs({ intervalMs, staleAfter }: LivenessThresholds): number {
  return Math.round(staleAfter * intervalMs);
}

/** After how much silence an agent is offline, in ms. */
export function offlineAfterMs({ intervalMs, offlineAfter, offlineGraceMs }: LivenessThresholds): number {
  return Math.round(offlineAfter * intervalMs) + offlineGraceMs;
}

/**
 * After how much silence an agent counts as gone where it is asked how many vanished together, in ms. Agents that did so
 * were heard within one interval of each other: when the first of them is offline, the last is silent for this long.
 */
export function missingAfterMs(thresholds: LivenessThresholds): number {
  const { intervalMs } = thresholds;
  const withTheFirst = offlineAfterMs(thresholds) - intervalMs;
  return Math.max(Math.min(staleAfterMs(thresholds), withTheFirst), Math.round(intervalMs * LATE));
}

/** Intervals: a heartbeat that is late by this is no reason to worry. */
const LATE = 1.25;

interface Inequality {
  smaller: Term;
  larger: Term;
  /** What would come of it otherwise. */
  otherwise: string;
}

interface Term {
  settings: string;
  ms: number;
}

/**
 * Thresholds that are good each by itself and cannot work together: the inequality that fails, and why it must hold.
 * `interval` names the one that they are given for.
 */
export function findThresholdClashes(
  thresholds: LivenessThresholds,
  interval = "DROVER_HEARTBEAT_INTERVAL",
): string[] {
  return inequalitiesOf(thresholds, interval)
    .filter(({ smaller, larger }) => smaller.ms >= larger.ms)
    .map(print);
}

function inequalitiesOf(thresholds: LivenessThresholds, words: string): Inequality[] {
  const interval = { settings: words, ms: thresholds.intervalMs };
  const stale = { settings: `DROVER_STALE_AFTER x ${interval.settings}`, ms: staleAfterMs(thresholds) };
  const offline = {
    settings: `DROVER_OFFLINE_AFTER x ${interval.settings} + DROVER_OFFLINE_GRACE`,
    ms: offlineAfterMs(thresholds),
  };
  const beforeNext = (word: string) => `an agent that misses no heartbeat would be ${word} before each one`;
  return [
    { smaller: interval, larger: stale, otherwise: beforeNext("stale") },
    { smaller: interval, larger: offline, otherwise: beforeNext("offline") },
    { smaller: stale, larger: offline, otherwise: "an agent would be offline before it is stale" },
  ];
}

function print({ smaller, larger, otherwise }: Inequality): string {
  const fails = `${printDuration(smaller.ms)} >= ${printDuration(larger.ms)}`;
  return `${smaller.settings} must be less than ${larger.settings}, and ${fails}: ${otherwise}.`;
}
