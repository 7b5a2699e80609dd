import type { Tx } from "../storage/database.ts";
import {
  findOfflineHolders,
  type GiveBackSettings,
  giveBackTasks,
  returnExpiredLeases,
  timeOutAttempts,
} from "../tasks/give-back.ts";
import type { TaskChange } from "../tasks/task-change.ts";
import { lockOffline } from "./liveness-store.ts";

/** What one transaction took back, and whether there may be more of it. */
export interface TakenBack {
  /** To be announced after the commit. */
  changes: TaskChange[];
  more: boolean;
}

/** Tasks of one transaction: small, so that no row is locked for long. */
const TASKS_AT_ONCE = 200;
const AGENTS_AT_ONCE = 20;

/**
 * Takes tasks back from those who are gone or past their time: a lease that a living agent let end, one past its end whose
 * agent is offline, and, where `overdueToo`, attempts that run longer than their tasks allow.
 */
export async function takeBack(
  tx: Tx,
  settings: GiveBackSettings,
  { overdueToo }: { overdueToo: boolean },
): Promise<TakenBack> {
  const steps = [takeEndedLeases, takeFromOffline, ...(overdueToo ? [endOverdueAttempts] : [])];
  const taken: TakenBack = { changes: [], more: false };
  for (const step of steps) {
    const { changes, more } = await step(tx, settings);
    taken.changes.push(...changes);
    taken.more ||= more;
  }
  return taken;
}

async function takeEndedLeases(tx: Tx, settings: GiveBackSettings): Promise<TakenBack> {
  return takenBack(await returnExpiredLeases(tx, TASKS_AT_ONCE, settings));
}

async function endOverdueAttempts(tx: Tx, settings: GiveBackSettings): Promise<TakenBack> {
  return takenBack(await timeOutAttempts(tx, TASKS_AT_ONCE, settings));
}

async function takeFromOffline(tx: Tx, settings: GiveBackSettings): Promise<TakenBack> {
  const holders = await findOfflineHolders(tx, AGENTS_AT_ONCE);
  if (holders.length === 0) return { changes: [], more: false };
  // One may have come back since: under its lock it is offline or not meant.
  const offline = await lockOffline(tx, holders);
  const origin = { actor: "server" };
  const reason = { kind: "lost", message: "its agent was lost", origin, endedLeasesOnly: true } as const;
  const changes = await giveBackTasks(tx, offline, reason, settings);
  return { changes, more: holders.length === AGENTS_AT_ONCE && handled(changes) > 0 };
}

function takenBack(changes: TaskChange[]): TakenBack {
  return { changes, more: handled(changes) === TASKS_AT_ONCE };
}

/** A task that could not even be set aside would be found again at once; the next round tries it once more. */
function handled(changes: TaskChange[]): number {
  return changes.filter(({ type }) => type !== "task.stuck").length;
}
