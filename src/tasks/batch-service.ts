import { lockAgents } from "../agents/agent-service.ts";
import { giveCommands } from "../commands/command-service.ts";
import type { Tx } from "../storage/database.ts";
import { decideTask } from "./decide-task.ts";
import { writeAll } from "./end-attempts.ts";
import { keepRequirementSets } from "./requirement-store.ts";
import { CANCELLED_BY_OPERATOR } from "./task.ts";
import { recordChanges, type TaskChange } from "./task-change.ts";
import type { TaskRules } from "./task-rules.ts";
import type { TaskOrigin } from "./task-service.ts";
import {
  findHolders,
  type LockedTask,
  lockTasks,
  waitsOf,
  writeCancelled,
  writeRetried,
} from "./task-store.ts";

/** Why an operator wants it, and by which request. */
interface Wish {
  reason: string;
  requestId: string;
}

type Locked = LockedTask & { taskId: string };
type LentNow = Extract<Locked, { state: "leased" | "running" }>;

/**
 * Cancels those of the tasks that have not ended, each as `cancelTask` does, in a few statements for all. One that another
 * agent was lent since the holders were locked is left alone. Resolves to what changed; to be announced after the commit.
 */
export async function cancelTasks(
  tx: Tx,
  { projectId, actor }: TaskOrigin,
  ids: readonly string[],
  wish: Wish,
  rules: TaskRules,
): Promise<TaskChange[]> {
  const reason = wish.reason === "" ? CANCELLED_BY_OPERATOR : wish.reason;
  const origin = { actor, requestId: wish.requestId };
  const tasks = await lockWithHolders(tx, projectId, ids);
  const error = { message: reason, context: undefined };
  const ends = tasks.filter(isLent).flatMap((task) => {
    const decision = decideTask(task, { kind: "cancel" }, rules.backoff);
    return decision.kind === "end" ? [{ loan: { ...task, projectId }, decision, error }] : [];
  });
  const waiting = tasks.filter(
    (task) => decideTask(task, { kind: "cancel" }, rules.backoff).kind === "cancel",
  );
  const ended = ends.length === 0 ? [] : await writeAll(tx, ends, origin);
  await giveCommands(
    tx,
    ends.map(({ loan: { agentId, taskId } }) => ({ projectId, agentId, kind: "cancelTask", taskId, reason })),
  );
  await writeCancelled(
    tx,
    projectId,
    waiting.map(({ taskId }) => taskId),
    reason,
  );
  const cancelled = waiting.map((task) => changeOf(projectId, task, "task.cancelled", "cancelled", reason));
  await recordChanges(tx, cancelled, origin);
  return [...ended, ...cancelled];
}

/** Makes those of the tasks wait again that failed, were cancelled or set aside, each as `retryTask` does. */
export async function retryTasks(
  tx: Tx,
  { projectId, actor }: TaskOrigin,
  ids: readonly string[],
  wish: Wish,
  rules: TaskRules,
): Promise<TaskChange[]> {
  const reason = wish.reason === "" ? "retried by an operator" : wish.reason;
  const tasks = (await lockTasks(tx, projectId, ids)).filter(
    (task) => decideTask(task, { kind: "retry" }, rules.backoff).kind === "retry",
  );
  await keepRequirementSets(
    tx,
    projectId,
    tasks.map(({ requirements }) => requirements),
  );
  const taskIds = tasks.map(({ taskId }) => taskId);
  await writeRetried(tx, projectId, taskIds);
  const waits = await waitsOf(tx, projectId, taskIds);
  const changes = tasks.map((task) => ({
    ...changeOf(projectId, task, "task.requeued", "pending", reason),
    dueInMs: waits.get(task.taskId) ?? 0,
    requirements: task.requirements,
  }));
  await recordChanges(tx, changes, { actor, requestId: wish.requestId });
  return changes;
}

/** Locks the agents that hold the tasks, and then the tasks; those whose holder is not among the locked are left out. */
async function lockWithHolders(tx: Tx, projectId: string, ids: readonly string[]): Promise<Locked[]> {
  const holders = await findHolders(tx, projectId, ids);
  // One that was removed meanwhile has lost its tasks by then.
  await lockAgents(
    tx,
    holders.map((agentId) => ({ projectId, agentId })),
    { waiting: true },
  );
  const locked = new Set(holders);
  return (await lockTasks(tx, projectId, ids)).filter((task) => !isLent(task) || locked.has(task.agentId));
}

function isLent(task: Locked): task is LentNow {
  return task.state === "leased" || task.state === "running";
}

function changeOf<Type extends "task.cancelled" | "task.requeued">(
  projectId: string,
  { taskId, kind, state: from, leaseEpoch }: Locked,
  type: Type,
  to: "cancelled" | "pending",
  reason: string,
): TaskChange {
  return {
    type,
    projectId,
    taskId,
    kind,
    from,
    to,
    agentId: undefined,
    leaseEpoch,
    reason,
    dueInMs: undefined,
  };
}
