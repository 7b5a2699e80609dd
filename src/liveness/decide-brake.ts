/** When a mass loss brakes, and how much. */
export interface BrakeSettings {
  /** Share of a project's agents that must be gone at once, above 0 and at most 1. */
  readonly fraction: number;
  /** Projects of fewer agents are never braked. */
  readonly minAgents: number;
  /** How many agents a second lose their tasks while most are gone. */
  readonly agentsPerSecond: number;
}

/** The agents of a project that count: they hold leases, or were live in the last ten minutes. */
export interface FleetCount {
  readonly counted: number;
  /** Those of them that are silent for too long, called offline or about to be. */
  readonly gone: number;
  /** Those of the gone that were called offline. */
  readonly lost: number;
  /** Whether one of the gone holds a task. */
  readonly holding: boolean;
}

/** How a project's tasks go back; times in ms by the database's clock. */
export type Brake =
  /** At once. */
  | { readonly kind: "off" }
  /** Most agents are gone: agent by agent. `earnedFromMs`: from when the allowance counts. */
  | { readonly kind: "slow"; readonly engagedMs: number; readonly earnedFromMs: number }
  /** All are silent, and not all of them were called offline yet: not at all. */
  | { readonly kind: "waiting"; readonly engagedMs: number }
  /** All are gone: not at all. */
  | { readonly kind: "stopped"; readonly engagedMs: number };

/** How a brake is that is engaged. */
export type BrakeKind = Exclude<Brake["kind"], "off">;

/**
 * Decides how fast the tasks of a project's lost agents go back. Agents that vanish together are called offline one after
 * the other, by the time of each one's last heartbeat; so those that are about to be count as gone already, and nothing
 * is taken from the first before it is known how many there are.
 *
 *               most gone, one holds a task
 *       off ─────────────────────────────────▶ slow
 *        ▲                                     │  ▲
 *        │ few gone, or nothing held           │  │ someone is heard
 *        │                      all are silent ▼  │
 *        └──────────────────────────────── waiting, and stopped once all were called offline
 */
export function decideBrake(
  before: Brake,
  fleet: FleetCount,
  nowMs: number,
  { fraction, minAgents }: BrakeSettings,
): Brake {
  const { counted, gone, lost, holding } = fleet;
  if (!holding || counted < minAgents || gone / counted < fraction) return { kind: "off" };
  const engagedMs = before.kind === "off" ? nowMs : before.engagedMs;
  if (gone === counted) return { kind: lost === counted ? "stopped" : "waiting", engagedMs };
  // What was earned before a stop is not saved up: the first agent's turn comes a whole step after it.
  return before.kind === "slow" ? before : { kind: "slow", engagedMs, earnedFromMs: nowMs };
}

/** Whether this is a return after all were lost: whoever is still away then gets the whole time to return as well. */
export function isReturn(before: Brake, after: Brake): boolean {
  return before.kind === "stopped" && after.kind !== "stopped";
}

/** How many agents may lose their tasks now. */
export function allowanceOf(brake: Brake, nowMs: number, settings: BrakeSettings): number {
  if (brake.kind === "off") return Number.POSITIVE_INFINITY;
  return brake.kind === "slow" ? Math.floor(earned(brake.earnedFromMs, nowMs, settings) + 1e-6) : 0;
}

/** The brake after so many agents lost their tasks, at most as many as allowed. */
export function spend(brake: Brake, agents: number, nowMs: number, settings: BrakeSettings): Brake {
  if (brake.kind !== "slow" || agents === 0) return brake;
  const left = Math.max(0, earned(brake.earnedFromMs, nowMs, settings) - agents);
  return { ...brake, earnedFromMs: nowMs - (left / settings.agentsPerSecond) * 1_000 };
}

/** Never more than a second's worth, or one agent: time in which there was nothing to take makes no burst later. */
function earned(fromMs: number, nowMs: number, { agentsPerSecond }: BrakeSettings): number {
  const sinceThen = (Math.max(0, nowMs - fromMs) / 1_000) * agentsPerSecond;
  return Math.min(sinceThen, Math.max(1, agentsPerSecond));
}
