import { lockAgentIfThere } from "../agents/agent-service.ts";
import { giveCommand } from "../commands/command-service.ts";
import type { Caller } from "../identity/caller.ts";
import type { PackedJson } from "../runtime/json-value.ts";
import { newUuid } from "../runtime/resource-id.ts";
import type { Db, Tx } from "../storage/database.ts";
import type { Labels } from "../storage/schema.ts";
import type { Moment } from "../storage/timestamptz.ts";
import { listStaleResults, type StaleResultRecord } from "./attempt-store.ts";
import { decideTask } from "./decide-task.ts";
import { writeAll } from "./end-attempts.ts";
import type { Requirements } from "./match-task.ts";
import { keepRequirementSets } from "./requirement-store.ts";
import { CANCELLED_BY_OPERATOR } from "./task.ts";
import { type ChangeOrigin, recordChanges, recordingOf, type TaskChange } from "./task-change.ts";
import { noSuchTask, taskEnded, taskIsLent } from "./task-refusals.ts";
import { MOST_TASK_BYTES, type TaskRules } from "./task-rules.ts";
import {
  endBackoff,
  findHolder,
  findTask,
  findTaskBytes,
  insertTasks,
  type LockedTask,
  lockTask,
  readCurrentTasks,
  type TaskRecord,
  waitsOf,
  writeCancelled,
  writeRetried,
} from "./task-store.ts";

/** In which project a task is changed, and by whom. */
export type TaskOrigin = Pick<Caller, "projectId" | "actor">;

/** A task as an operator wants it. */
export interface NewTaskWish {
  kind: string;
  payload: PackedJson | undefined;
  /** From 0 to 9. */
  priority: number;
  labels: Labels;
  maxRetries: number;
  timeoutMs: number | undefined;
  /** No agent gets it before; undefined: at once. */
  notBefore: Moment | undefined;
  requirements: Requirements;
}

/** A task with the results that were refused, the newest first. */
export interface ShownTask {
  task: TaskRecord;
  staleResults: StaleResultRecord[];
}

/** Adds a task, as `createTasks` does. */
export async function createTask(
  tx: Tx,
  caller: TaskOrigin,
  wish: NewTaskWish,
  requestId: string,
): Promise<{ task: TaskRecord; changes: TaskChange[] }> {
  const { tasks, changes } = await createTasks(tx, caller, [wish], requestId);
  const [task] = tasks;
  if (task === undefined) throw new Error("one task was added, and there is none");
  return { task, changes };
}

/** Adds tasks, which are pending at once, in their order; the changes are to be announced after the commit. */
export async function createTasks(
  tx: Tx,
  caller: TaskOrigin,
  wishes: readonly NewTaskWish[],
  requestId: string,
): Promise<{ tasks: TaskRecord[]; changes: TaskChange[] }> {
  const { projectId, actor } = caller;
  const tasks = wishes.map((wish) => ({ id: newUuid(), ...wish }));
  await keepRequirementSets(
    tx,
    projectId,
    wishes.map(({ requirements }) => requirements),
  );
  const changes = tasks.map(
    ({ id: taskId, kind, requirements }): TaskChange => ({
      type: "task.created",
      projectId,
      taskId,
      kind,
      from: "",
      to: "pending",
      agentId: undefined,
      leaseEpoch: 0n,
      reason: "",
      dueInMs: undefined,
      requirements,
    }),
  );
  const recording = recordingOf([{ changes, origin: { actor, requestId } }]);
  const added = await insertTasks(tx, projectId, tasks, recording);
  return {
    tasks: added.map(({ task }) => task),
    changes: changes.map((change, place) => ({ ...change, dueInMs: added[place]?.waitMs ?? 0 })),
  };
}

/** The project's task with what was refused of it, or NOT_FOUND. */
export async function showTask(db: Db | Tx, projectId: string, taskId: string): Promise<ShownTask> {
  const task = await findTask(db, projectId, taskId);
  if (task === undefined) throw noSuchTask();
  const bytes = await findTaskBytes(db, projectId, taskId);
  return {
    task,
    staleResults: await listStaleResults(db, projectId, taskId, Math.max(0, MOST_TASK_BYTES - bytes)),
  };
}

/**
 * Cancels a task. One that waits or is set aside just ends; a lent one ends now too, and its agent is told to stop. A
 * second time changes nothing. Throws NOT_FOUND, and FAILED_PRECONDITION (TASK_ENDED) where it succeeded or failed.
 */
export async function cancelTask(
  tx: Tx,
  caller: TaskOrigin,
  taskId: string,
  wish: { reason: string; requestId: string },
  rules: TaskRules,
): Promise<TaskChange[]> {
  const { projectId } = caller;
  const reason = wish.reason === "" ? CANCELLED_BY_OPERATOR : wish.reason;
  const task = await lockWithHolder(tx, projectId, taskId);
  const origin: ChangeOrigin = { actor: caller.actor, requestId: wish.requestId };
  const decision = decideTask(task, { kind: "cancel" }, rules.backoff);
  const error = { message: reason, context: undefined };
  if (decision.kind === "end" && (task.state === "leased" || task.state === "running")) {
    const changes = await writeAll(tx, [{ loan: { ...task, projectId, taskId }, decision, error }], origin);
    await giveCommand(tx, { projectId, agentId: task.agentId }, { kind: "cancelTask", taskId, reason });
    return changes;
  }
  if (decision.kind === "cancel") {
    await writeCancelled(tx, projectId, [taskId], reason);
    const { kind, state: from, leaseEpoch } = task;
    const change = {
      type: "task.cancelled",
      projectId,
      taskId,
      kind,
      from,
      to: "cancelled",
      agentId: undefined,
    } as const;
    const changes = [{ ...change, leaseEpoch, reason, dueInMs: undefined }];
    await recordChanges(tx, changes, origin);
    return changes;
  }
  if (task.state !== "cancelled") throw taskEnded(task.state);
  return [];
}

/**
 * Makes a task wait again that failed, was cancelled or set aside, with all of its chances; one that waits for its
 * backoff waits no longer. Throws NOT_FOUND, and FAILED_PRECONDITION where it succeeded (TASK_ENDED) or an agent has it
 * (TASK_LENT).
 */
export async function retryTask(
  tx: Tx,
  caller: Caller,
  taskId: string,
  wish: { reason: string; requestId: string },
  rules: TaskRules,
): Promise<TaskChange[]> {
  const { projectId, actor } = caller;
  const task = await lockTask(tx, projectId, taskId);
  if (task === undefined) throw noSuchTask();
  const { kind, requirements, leaseEpoch, state: from } = task;
  const decision = decideTask(task, { kind: "retry" }, rules.backoff);
  if (decision.kind === "hasten") {
    if (!(await endBackoff(tx, projectId, taskId))) return [];
  } else if (decision.kind === "retry") {
    await keepRequirementSets(tx, projectId, [requirements]);
    await writeRetried(tx, projectId, [taskId]);
  } else {
    throw from === "leased" || from === "running" ? taskIsLent() : taskEnded(from);
  }
  const change: TaskChange = {
    type: "task.requeued",
    projectId,
    taskId,
    kind,
    from,
    to: "pending",
    agentId: undefined,
    leaseEpoch,
    reason: wish.reason === "" ? "retried by an operator" : wish.reason,
    dueInMs: (await waitsOf(tx, projectId, [taskId])).get(taskId) ?? 0,
    requirements,
  };
  // That a pending task waits no longer is no change of its state.
  if (decision.kind === "retry") await recordChanges(tx, [change], { actor, requestId: wish.requestId });
  return [change];
}

/**
 * Locks a task and, before it, the agent that holds it: the order in which everyone takes these locks. The holder is
 * read first and may change before it is locked; then it is read anew.
 */
async function lockWithHolder(tx: Tx, projectId: string, taskId: string): Promise<LockedTask> {
  for (;;) {
    const seen = await findHolder(tx, projectId, taskId);
    if (seen === undefined) throw noSuchTask();
    if (seen.agentId !== undefined) await lockAgentIfThere(tx, projectId, seen.agentId);
    const task = await lockTask(tx, projectId, taskId);
    if (task === undefined) throw noSuchTask();
    const holder = task.state === "leased" || task.state === "running" ? task.agentId : undefined;
    if (holder === undefined || holder === seen.agentId) return task;
  }
}

/** What an agent works on, as its newest heartbeat said. */
export interface CurrentTask {
  taskId: string;
  leaseEpoch: bigint;
  progress: number;
  detail: string;
}

/** Of the loans that agents named as the task at hand those that still hold, by agent id. */
export async function currentTasks(
  db: Db | Tx,
  projectId: string,
  links: { agentId: string; taskId: string; leaseEpoch: bigint }[],
): Promise<Map<string, CurrentTask>> {
  return links.length === 0 ? new Map() : await readCurrentTasks(db, projectId, links);
}
