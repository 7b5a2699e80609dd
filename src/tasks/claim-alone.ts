import { agentRemoved, shareTaker } from "../agents/agent-service.ts";
import type { Once } from "../idempotency/answer-once.ts";
import type { AgentCaller } from "../identity/caller.ts";
import { confirmCaller } from "../identity/confirm-caller.ts";
import type { Tx } from "../storage/database.ts";
import { shareTakers } from "./claim-store.ts";
import { lendDue } from "./lend-due.ts";
import { readLoans } from "./loan-store.ts";
import type { Offer } from "./match-task.ts";
import { findClaimBar } from "./may-claim.ts";
import type { TaskChange } from "./task-change.ts";
import { refusalOfBar } from "./task-refusals.ts";
import { findTasks, type TaskRecord } from "./task-store.ts";

/** What an agent claims. */
export interface ClaimWish {
  /** Empty: any kind. */
  kinds: readonly string[];
  max: number;
  /** Left out: a repeat is another claim. */
  once?: Once | undefined;
}

/** What a claim brought; `isRepeat`: what it had brought before. */
export interface ClaimedAlone {
  tasks: TaskRecord[];
  offer: Offer;
  isRepeat: boolean;
  /** To be announced after the commit. */
  changes: TaskChange[];
}

/**
 * Lends an agent tasks in a transaction of its own, which waits where somebody has the agent locked. Throws
 * AGENT_IN_ERROR, AGENT_CORDONED, UNAUTHENTICATED, and NOT_FOUND for an agent that was removed.
 */
export async function claimAlone(
  tx: Tx,
  caller: AgentCaller,
  { kinds, max, once }: ClaimWish,
  leaseMs: number,
): Promise<ClaimedAlone> {
  const { projectId, agentId, actor } = caller;
  const bar = findClaimBar(await shareTaker(tx, projectId, agentId));
  if (bar?.kind === "in-error") throw refusalOfBar(bar);
  const taker = (await shareTakers(tx, [caller])).get(agentId);
  if (taker === undefined) throw agentRemoved();
  const { offer } = taker;
  const before = await once?.begin(tx);
  if (before !== undefined) {
    await confirmCaller(tx, caller);
    return { tasks: await readClaimed(tx, caller, before), offer, isRepeat: true, changes: [] };
  }
  // What it got before the cordon it may ask for again.
  if (bar !== undefined) throw refusalOfBar(bar);
  const claim = { projectId, agentId, taker, kinds, max, origin: { actor } };
  const [lent = NOTHING_LENT] = (await lendDue(tx, [claim], leaseMs)).values();
  const { tasks, changes } = lent;
  // After a long wait above all: nothing is lent to a token that was revoked meanwhile.
  await confirmCaller(tx, caller);
  // A claim that brings nothing has had no effect: its repeat waits for a task anew.
  if (tasks.length === 0) await once?.forget(tx);
  else await once?.keep(tx, noteClaimed(tasks));
  return { tasks, offer, isRepeat: false, changes };
}

const NOTHING_LENT = { tasks: [], changes: [] };

/** What a repeat of a claim has to know: which loans it brought. */
function noteClaimed(tasks: readonly TaskRecord[]): Uint8Array {
  return Buffer.from(JSON.stringify(tasks.map(({ id, leaseEpoch }) => [id, String(leaseEpoch)])));
}

/** The tasks of an earlier claim, each with what remains of that loan; of one that is over nothing does. */
async function readClaimed(tx: Tx, { projectId, agentId }: AgentCaller, note: Uint8Array) {
  // It was written by noteClaimed.
  const loans: [string, string][] = JSON.parse(Buffer.from(note).toString());
  const keys = loans.map(([taskId, epoch]) => ({ projectId, agentId, taskId, leaseEpoch: BigInt(epoch) }));
  const remaining = new Map((await readLoans(tx, keys)).map((loan) => [loan.taskId, loan.remainingMs]));
  const epochs = new Map(keys.map(({ taskId, leaseEpoch }) => [taskId, leaseEpoch]));
  const tasks = await findTasks(
    tx,
    projectId,
    keys.map(({ taskId }) => taskId),
  );
  return tasks.map((task) => ({
    ...task,
    leaseEpoch: epochs.get(task.id) ?? task.leaseEpoch,
    remainingMs: remaining.get(task.id) ?? 0,
  }));
}
