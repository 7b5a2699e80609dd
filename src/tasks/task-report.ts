/** What a heartbeat says of its agent's tasks, and what it is answered of them. */
import { parseId } from "../runtime/resource-id.ts";
import type { Progress } from "./loan-store.ts";
import type { TaskChange } from "./task-change.ts";

/** A loan as an agent names it: the text of the task's id, and the epoch. */
export interface TaskClaim {
  taskId: string;
  leaseEpoch: bigint;
}

/** What a heartbeat says of its agent's tasks. */
export interface TaskReport {
  /** The task at hand. */
  currentTask: (TaskClaim & Progress) | undefined;
  /** What it holds besides. */
  heldLeases: TaskClaim[];
}

/** A loan that a heartbeat named: renewed, or over where `remainingMs` is undefined. */
export interface LeaseAnswer extends TaskClaim {
  remainingMs: number | undefined;
}

export interface TaskReportAnswer {
  /** UUID and epoch of the task at hand, where it is this agent's. */
  currentTask: { taskId: string; leaseEpoch: bigint } | undefined;
  leases: LeaseAnswer[];
  /** To be announced after the commit. */
  changes: TaskChange[];
}

/** A loan that a heartbeat named, by its task's UUID. */
export interface NamedLoan extends Progress {
  /** As it was named. */
  text: string;
  taskId: string;
  leaseEpoch: bigint;
  /** The agent works on it. */
  accept: boolean;
}

const NONE: NamedLoan[] = [];

/** Each loan once, the task at hand first; what is no id of a task names no loan. */
export function loansNamedIn({ currentTask, heldLeases }: TaskReport): NamedLoan[] {
  if (currentTask === undefined && heldLeases.length === 0) return NONE;
  const current = currentTask && namedLoan(currentTask, currentTask);
  if (heldLeases.length === 0) return current === undefined ? NONE : [current];
  const named = new Map<string, NamedLoan>();
  if (current !== undefined) named.set(loanKey(current), current);
  for (const claim of heldLeases) {
    const loan = namedLoan(claim, undefined);
    if (loan !== undefined && !named.has(loanKey(loan))) named.set(loanKey(loan), loan);
  }
  return [...named.values()];
}

function namedLoan(
  { taskId: text, leaseEpoch }: TaskClaim,
  work: Progress | undefined,
): NamedLoan | undefined {
  const taskId = parseId("task", text);
  if (taskId === undefined) return undefined;
  return {
    text,
    taskId,
    leaseEpoch,
    accept: work !== undefined,
    progress: work?.progress,
    detail: work?.detail,
    checkpoint: work?.checkpoint,
  };
}

/** What tells a loan from another of the same agent. */
export function loanKey({ taskId, leaseEpoch }: { taskId: string; leaseEpoch: bigint }): string {
  return `${taskId} ${leaseEpoch}`;
}

/** An answer for every loan that was named, in the order of the report; `lasting` has the ms of those that hold. */
export function answerReport(
  report: TaskReport,
  lasting: ReadonlyMap<string, number>,
  changes: TaskChange[],
): TaskReportAnswer {
  if (report.currentTask === undefined && report.heldLeases.length === 0) {
    return { currentTask: undefined, leases: [], changes };
  }
  const remaining = (claim: TaskClaim) => {
    const taskId = parseId("task", claim.taskId);
    return taskId === undefined ? undefined : lasting.get(loanKey({ taskId, leaseEpoch: claim.leaseEpoch }));
  };
  const { currentTask, heldLeases } = report;
  const named = currentTask === undefined ? heldLeases : [currentTask, ...heldLeases];
  const unique = new Map(
    named.map(({ taskId, leaseEpoch }) => [loanKey({ taskId, leaseEpoch }), { taskId, leaseEpoch }]),
  );
  const currentId =
    currentTask && remaining(currentTask) !== undefined ? parseId("task", currentTask.taskId) : undefined;
  return {
    currentTask:
      currentTask === undefined || currentId === undefined
        ? undefined
        : { taskId: currentId, leaseEpoch: currentTask.leaseEpoch },
    leases: [...unique.values()].map((claim) => ({ ...claim, remainingMs: remaining(claim) })),
    changes,
  };
}
