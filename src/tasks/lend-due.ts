import type { Tx } from "../storage/database.ts";
import { type LockedDue, lendTasks, lockDue, type Taker } from "./claim-store.ts";
import type { Holder } from "./loan-store.ts";
import { planDeal } from "./plan-deal.ts";
import { type ChangeOrigin, recordingOf, type TaskChange } from "./task-change.ts";
import { MOST_TASK_BYTES } from "./task-rules.ts";
import type { TaskRecord } from "./task-store.ts";

/** What one transaction lends at most, in bytes: all of it is in memory at once. */
const MOST_BYTES = 16 * 1024 * 1024;

/** A claim of an agent whose row is locked, FOR SHARE at least, and which nothing keeps from being lent tasks. */
export interface AdmittedClaim extends Holder {
  readonly taker: Taker;
  /** Empty: any kind. */
  readonly kinds: readonly string[];
  readonly max: number;
  readonly origin: ChangeOrigin;
}

/** What came of a claim. */
export interface Lent {
  readonly tasks: TaskRecord[];
  /** To be announced after the commit. */
  readonly changes: TaskChange[];
  /** It got nothing since the transaction is full: by itself it may find something. */
  readonly isCut: boolean;
}

/**
 * Lends due tasks, each to one agent; answers by claim. Those who wish for the same are dealt tasks together; where they
 * do not, the group of whoever came first chooses first. No agent may be there twice.
 */
export async function lendDue<C extends AdmittedClaim>(
  tx: Tx,
  claims: readonly C[],
  leaseMs: number,
): Promise<Map<C, Lent>> {
  const { hands, isCut } = await dealAll(tx, claims);
  const sets = claims.map((claim) => ({
    changes: (hands.get(claim) ?? []).map((task) => changeOf(claim, task)),
    origin: claim.origin,
  }));
  const lent = await lendAll(tx, sets, leaseMs);
  return new Map(
    claims.map((claim, place): [C, Lent] => {
      const changes = sets[place]?.changes ?? [];
      const tasks = changes.flatMap(({ taskId }) => lent.get(taskId) ?? []);
      return [claim, { tasks, changes, isCut: isCut && tasks.length === 0 }];
    }),
  );
}

/** Writes loans with what records them; resolves to the tasks by their ids. */
async function lendAll(
  tx: Tx,
  sets: readonly { changes: LoanChange[]; origin: ChangeOrigin }[],
  leaseMs: number,
): Promise<Map<string, TaskRecord>> {
  const loans = sets.flatMap(({ changes }) => changes);
  if (loans.length === 0) return new Map();
  const lent = await lendTasks(tx, loans, leaseMs, recordingOf(sets));
  if (lent.size !== loans.length) throw new Error("a task vanished in a transaction that has locked it");
  return lent;
}

/** Locks tasks and says which claim gets which. */
async function dealAll<C extends AdmittedClaim>(tx: Tx, claims: readonly C[]) {
  const hands = new Map<C, readonly LockedDue[]>();
  let leftBytes = MOST_BYTES;
  let isCut = false;
  for (const group of Map.groupBy(claims, keyOfWish).values()) {
    const [first] = group;
    if (first === undefined) continue;
    const { projectId, taker } = first;
    const kinds = [...new Set(first.kinds)];
    const max = group.reduce((sum, claim) => sum + claim.max, 0);
    const except = [...hands.values()].flat().map(({ taskId }) => taskId);
    const candidates = await lockDue(tx, { projectId, kinds, sets: taker.sets, max, except });
    const deal = planDeal(candidates, group, { eachBytes: MOST_TASK_BYTES, allBytes: leftBytes });
    for (const [place, claim] of group.entries()) hands.set(claim, deal.hands[place] ?? []);
    leftBytes -= deal.bytes;
    isCut ||= deal.isCut;
  }
  return { hands, isCut };
}

/** The same for claims that would be lent the same tasks. */
function keyOfWish({ projectId, kinds, taker }: AdmittedClaim): string {
  return JSON.stringify([projectId, [...new Set(kinds)].sort(), taker.sets]);
}

type LoanChange = TaskChange & { agentId: string };

function changeOf(
  { projectId, agentId }: AdmittedClaim,
  { taskId, kind, leaseEpoch }: LockedDue,
): LoanChange {
  return {
    type: "task.leased",
    projectId,
    taskId,
    kind,
    from: "pending",
    to: "leased",
    agentId,
    leaseEpoch,
    reason: "",
    dueInMs: undefined,
  };
}
