/** How often an agent was lost lately, as a number that fades; the time in ms by the database's clock. */
export interface FlapRecord {
  /** Losses, each of them counting half after every half-life. */
  readonly score: number;
  readonly scoredMs: number;
  readonly flapping: boolean;
}

const HALF_LIFE_MS = 20 * 60_000;
/** Reached by three losses within about ten minutes. */
const BEGINS_AT = 2.5;
/** Far below, so that an agent at the edge does not flap in and out of flapping. */
const ENDS_BELOW = 1;
/** Not worth a row any more. */
const FORGOTTEN_BELOW = 0.1;

/** What a loss makes of an agent's record; undefined: it was not lost lately. */
export function afterLoss(before: FlapRecord | undefined, nowMs: number): FlapRecord {
  const score = 1 + (before === undefined ? 0 : faded(before, nowMs));
  const flapping = score >= BEGINS_AT || (before?.flapping === true && score >= ENDS_BELOW);
  return { score, scoredMs: nowMs, flapping };
}

/** What time makes of it: an agent that is not lost any more comes to rest. */
export function afterTime(before: FlapRecord, nowMs: number): "keep" | "rest" | "forget" {
  const score = faded(before, nowMs);
  if (before.flapping) return score < ENDS_BELOW ? "rest" : "keep";
  return score < FORGOTTEN_BELOW ? "forget" : "keep";
}

/** No record can change sooner after its last loss: from the beginning of flapping to its end, and of one loss. */
export const fadeTimes = {
  restMs: HALF_LIFE_MS * Math.log2(BEGINS_AT / ENDS_BELOW),
  forgetMs: HALF_LIFE_MS * Math.log2(1 / FORGOTTEN_BELOW),
} as const;

function faded({ score, scoredMs }: FlapRecord, nowMs: number): number {
  return score * 2 ** (-Math.max(0, nowMs - scoredMs) / HALF_LIFE_MS);
}
