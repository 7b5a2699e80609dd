import { type SQL, sql } from "drizzle-orm";
import { type AuditChange, auditInsert } from "../audit/audit-log.ts";
import { type EventDraft, shortText } from "../events/event.ts";
import { eventInsert } from "../events/outbox.ts";
import { assertNever } from "../runtime/assert-never.ts";
import { formatId } from "../runtime/resource-id.ts";
import type { Tx } from "../storage/database.ts";
import type { Requirements } from "./match-task.ts";
import type { Loan, TaskState } from "./task.ts";

/** What happened to a task; each is a type of event. */
export type TaskChangeType =
  | "task.created"
  | "task.leased"
  | "task.started"
  | "task.succeeded"
  | "task.requeued"
  | "task.failed"
  | "task.cancelled"
  | "task.quarantined"
  /** Nothing could be written of it, not even that it is set aside: it stays as it was. */
  | "task.stuck";

/** One fact about a task, true once its transaction commits. */
export interface TaskChange {
  type: TaskChangeType;
  projectId: string;
  taskId: string;
  /** Kind of the task. */
  kind: string;
  from: TaskState | "";
  to: TaskState;
  /** Who holds it or held it; undefined for a task that nobody held. */
  agentId: string | undefined;
  leaseEpoch: bigint;
  /** In words; empty where there is nothing to say. */
  reason: string;
  /** In how many ms it may be claimed; undefined unless it is pending now. */
  dueInMs: number | undefined;
  /** What its agent must have; where it is left out, nothing. Told of pending tasks alone. */
  requirements?: Requirements;
}

/** The fact that an agent has begun to work on a task. */
export function startOf(loan: Loan & { projectId: string; taskId: string }, kind: string): TaskChange {
  return {
    ...loan,
    kind,
    reason: "",
    dueInMs: undefined,
    type: "task.started",
    from: "leased",
    to: "running",
  };
}

/** Who made changes. */
export interface ChangeOrigin {
  /** `agent:NAME`, `token:ID` or `server`. */
  actor: string;
  requestId?: string;
}

/**
 * Records facts in the transaction that makes them true. The one place that all changes of tasks pass, so that whoever
 * is to hear of them hears of all.
 */
export async function recordChanges(
  tx: Tx,
  changes: readonly TaskChange[],
  origin: ChangeOrigin,
): Promise<void> {
  await recordAllChanges(tx, [{ changes, origin }]);
}

/** What one has changed. */
export interface ChangeSet {
  readonly changes: readonly TaskChange[];
  readonly origin: ChangeOrigin;
}

/** Records what several have changed, as recordChanges does. */
export async function recordAllChanges(tx: Tx, sets: readonly ChangeSet[]): Promise<void> {
  if (sets.every(({ changes }) => changes.length === 0)) return;
  await tx.execute(sql`WITH ${recordingOf(sets)} SELECT 1`);
}

/**
 * The same as parts of a WITH, for the statement that makes the facts true: one journey to the database instead of two.
 * There has to be a change at least.
 */
export function recordingOf(sets: readonly ChangeSet[]): SQL {
  const audited = sets.flatMap(({ changes, origin }) =>
    changes.filter(isAudited).map((change) => auditOf(change, origin)),
  );
  const told = eventInsert(
    sets.flatMap(({ changes, origin }) => changes.map((change) => eventOf(change, origin))),
  );
  return audited.length === 0
    ? sql`told AS (${told})`
    : sql`audited AS (${auditInsert(audited)}), told AS (${told})`;
}

function eventOf(change: TaskChange, { actor }: ChangeOrigin): EventDraft {
  const { projectId, taskId, agentId, type, kind, from, to, leaseEpoch, reason } = change;
  const data = {
    kind,
    from,
    to,
    leaseEpoch: String(leaseEpoch),
    actor,
    ...(reason !== "" && { reason: shortText(reason) }),
  };
  return { projectId, type, subject: formatId("task", taskId), agentId, taskId, data };
}

/** Loans and successes are not audited: attempts tell of them, and the audit log is kept much longer than tasks are. */
function isAudited({ type }: TaskChange): boolean {
  switch (type) {
    case "task.leased":
    case "task.started":
    case "task.succeeded":
      return false;
    case "task.created":
    case "task.requeued":
    case "task.failed":
    case "task.cancelled":
    case "task.quarantined":
    case "task.stuck":
      return true;
    default:
      return assertNever(type);
  }
}

function auditOf(change: TaskChange, { actor, requestId }: ChangeOrigin): AuditChange {
  const { projectId, type, from, to, reason } = change;
  return {
    projectId,
    actor,
    action: type,
    subject: formatId("task", change.taskId),
    field: "state",
    from,
    to,
    reason,
    ...(requestId !== undefined && { requestId }),
  };
}
