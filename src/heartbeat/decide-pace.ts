/** What decides how often agents are to be heard. */
export interface PaceRules {
  /** Time between an agent's heartbeats while the fleet is small, in ms. */
  readonly baseMs: number;
  /** Heartbeats that the whole fleet may send. */
  readonly mostPerSecond: number;
}

/** A fleet's pace; ms. */
export interface Pace {
  /** Time between an agent's heartbeats. */
  readonly intervalMs: number;
  /** What may be added to it, so that agents do not come all at once; 0 where few come. */
  readonly spreadMs: number;
}

/** However large the fleet is: an agent that is not heard for hours says nothing. */
export const LONGEST_MS = 3_600_000;
/** Shares of the interval. */
const LEAST_SPREAD = 0.1;
const MOST_SPREAD = 0.25;
/** Share of the heartbeats that may come, from which on it matters when they come. */
const CROWD = 0.05;

/**
 * Decides the pace of so many agents, of whom that many heartbeats came within the last second: the interval grows so that
 * they stay under the bound, and is spread where it has grown, and where many come at once, as after a restart. The
 * spread is added after the interval has reached its cap, or the largest fleets would come in step.
 */
export function decidePace({ baseMs, mostPerSecond }: PaceRules, agents: number, lastSecond: number): Pace {
  const neededMs = Math.ceil((agents / mostPerSecond) * 1000);
  const intervalMs = Math.min(Math.max(baseMs, neededMs), Math.max(baseMs, LONGEST_MS));
  const crowd = Math.min(1, lastSecond / mostPerSecond);
  if (neededMs <= baseMs && crowd < CROWD) return { intervalMs, spreadMs: 0 };
  const spread = LEAST_SPREAD + (MOST_SPREAD - LEAST_SPREAD) * crowd;
  return { intervalMs, spreadMs: Math.round(intervalMs * spread) };
}

/** The longest interval that agents are told at that pace. */
export function longestOf({ intervalMs, spreadMs }: Pace): number {
  return intervalMs + spreadMs;
}

/** When an agent is to be heard next, in ms; `draw` is from 0 up to 1. */
export function nextBeatMs({ intervalMs, spreadMs }: Pace, draw: number): number {
  return intervalMs + Math.round(spreadMs * draw);
}
