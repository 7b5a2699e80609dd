import type { Liveness } from "./agent.ts";

/** How the streams of an agent's present session are, by which it hears of commands; durations in ms of the database's clock. */
export interface Hearing {
  /** For how long the oldest of its open streams has been open; null: none is. */
  openForMs: number | null;
  /** How long ago the newest of those that ended did; null: none has. */
  endedAgoMs: number | null;
  /** How long the oldest echo has waited that it did not answer; null: none waits. */
  echoWaitsMs: number | null;
  /** For how long a stream may be missing or silent before that means anything: two heartbeat intervals. */
  graceMs: number;
  /** For how long the control plane has been there without a break. */
  watchedMs: number;
}

/** Why an agent that beats counts as one that does not listen. */
export type Deafness = "no-stream" | "no-echo";

/**
 * Whether an agent beats and does not listen: the streams that it had in this session are gone, or one is open and an
 * echo stays without an answer. Undefined for one that listens, and where there is no telling.
 */
export function decideDeaf(liveness: Liveness, hearing: Hearing | null): Deafness | undefined {
  if (liveness !== "live" || hearing === null) return undefined;
  const { openForMs, endedAgoMs, echoWaitsMs, graceMs, watchedMs } = hearing;
  // Whoever could not open a stream, or answer, while no server was there, gets its time anew.
  const isOver = (ms: number | null) => ms !== null && Math.min(ms, watchedMs) > graceMs;
  if (openForMs === null) return isOver(endedAgoMs) ? "no-stream" : undefined;
  return isOver(Math.min(echoWaitsMs ?? 0, openForMs)) ? "no-echo" : undefined;
}

/** Whether a stream of the agent is open while its heartbeats are overdue, have stopped or never began. */
export function isMute(liveness: Liveness, hearing: Hearing | null): boolean {
  if (hearing === null || hearing.openForMs === null) return false;
  if (liveness === "never") return Math.min(hearing.openForMs, hearing.watchedMs) > hearing.graceMs;
  return liveness !== "live";
}
