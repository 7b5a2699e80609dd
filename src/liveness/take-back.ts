import type { CordonChange } from "../agents/cordon-service.ts";
import type { Tx } from "../storage/database.ts";
import {
  findOfflineHolders,
  type GiveBackSettings,
  giveBackTasks,
  type LostIn,
  returnExpiredLeases,
  type Spared,
  timeOutAttempts,
} from "../tasks/give-back.ts";
import type { TaskChange } from "../tasks/task-change.ts";
import { applyBrakes, type BrakeChange, type Brakes } from "./apply-brakes.ts";
import { writeBrake } from "./brake-store.ts";
import { allowanceOf, type BrakeSettings, spend } from "./decide-brake.ts";
import { maySomeoneBeDue, type Watch } from "./decide-liveness.ts";
import { lockOffline } from "./liveness-store.ts";
import { restFlaps } from "./note-flaps.ts";
import { type LivenessThresholds, missingAfterMs } from "./thresholds.ts";

/** What one transaction took back, and whether there may be more of it. */
export interface TakenBack {
  /** To be announced after the commit. */
  changes: TaskChange[];
  /** To be told after the commit. */
  brakes: BrakeChange[];
  /** Agents that failed too many tasks in a row by running longer than they may; to be told after the commit. */
  cordoned: CordonChange[];
  more: boolean;
}

export interface TakeBackSettings extends GiveBackSettings {
  brake: BrakeSettings;
  thresholds: LivenessThresholds;
}

/** What one step took back. */
type Step = Pick<TakenBack, "changes" | "more">;

/** Tasks of one transaction: small, so that no row is locked for long. */
const TASKS_AT_ONCE = 200;
const AGENTS_AT_ONCE = 20;

/**
 * Takes tasks back from those who are gone or past their time: a lease that a living agent let end, one past its end whose
 * agent is offline, and, where somebody has listened for long enough, attempts that run longer than their tasks allow.
 * In a project that lost most of its agents at once it does so slowly, or not at all.
 */
export async function takeBack(tx: Tx, watch: Watch, settings: TakeBackSettings): Promise<TakenBack> {
  await restFlaps(tx, watch.nowMs);
  const brakes = await applyBrakes(tx, watch, settings.brake, settings.thresholds);
  const braked = [...brakes.engaged.keys()];
  const spared: Spared = { projectIds: braked, silentForMs: missingAfterMs(settings.thresholds) };
  const taken: TakenBack = { changes: [], brakes: brakes.changes, cordoned: [], more: false };
  const add = ({ changes, more }: Step) => {
    taken.changes.push(...changes);
    taken.more ||= more;
  };
  add(step(await returnExpiredLeases(tx, TASKS_AT_ONCE, spared, settings)));
  const { changes, agents } = await takeFromLost(tx, { except: braked }, AGENTS_AT_ONCE, settings);
  add({ changes, more: agents === AGENTS_AT_ONCE && handled(changes) > 0 });
  add({ changes: await takeSlowly(tx, brakes, watch.nowMs, settings), more: false });
  // Who was done while nobody listened gets the time to say so.
  if (maySomeoneBeDue(watch, settings.thresholds)) {
    const timedOut = await timeOutAttempts(tx, TASKS_AT_ONCE, spared, settings);
    add(step(timedOut.changes));
    taken.cordoned.push(...timedOut.cordoned);
  }
  return taken;
}

/** Takes from as many lost agents of braked projects as each one's brake allows now. */
async function takeSlowly(
  tx: Tx,
  { engaged }: Brakes,
  nowMs: number,
  settings: TakeBackSettings,
): Promise<TaskChange[]> {
  const all: TaskChange[] = [];
  for (const [project, brake] of engaged) {
    const allowed = Math.min(allowanceOf(brake, nowMs, settings.brake), AGENTS_AT_ONCE);
    if (allowed === 0) continue;
    const { changes, agents } = await takeFromLost(tx, { project }, allowed, settings);
    all.push(...changes);
    if (agents > 0) await writeBrake(tx, project, spend(brake, agents, nowMs, settings.brake));
  }
  return all;
}

async function takeFromLost(
  tx: Tx,
  lostIn: LostIn,
  limit: number,
  settings: GiveBackSettings,
): Promise<{ changes: TaskChange[]; agents: number }> {
  const holders = await findOfflineHolders(tx, limit, lostIn);
  if (holders.length === 0) return { changes: [], agents: 0 };
  // One may have come back since: under its lock it is offline or not meant.
  const offline = await lockOffline(tx, holders);
  const origin = { actor: "server" };
  const reason = { kind: "lost", message: "its agent was lost", origin, endedLeasesOnly: true } as const;
  return { changes: await giveBackTasks(tx, offline, reason, settings), agents: offline.length };
}

function step(changes: TaskChange[]): Step {
  // What one project gets at once is bounded, so that a small number need not be the last.
  return { changes, more: handled(changes) > 0 };
}

/** A task that could not even be set aside would be found again at once; the next round tries it once more. */
function handled(changes: TaskChange[]): number {
  return changes.filter(({ type }) => type !== "task.stuck").length;
}
