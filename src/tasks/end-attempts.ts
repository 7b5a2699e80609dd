import { assertNever } from "../runtime/assert-never.ts";
import type { Tx } from "../storage/database.ts";
import { databaseErrorCode, isTransient } from "../storage/database-error.ts";
import { type AttemptEnd, type AttemptError, writeAttemptEnds } from "./attempt-store.ts";
import {
  type AfterAttempt,
  decideEnding,
  type EndOfAttempt,
  MOST_TAKEN_DOWN,
  type TaskEnding,
} from "./decide-task.ts";
import type { LockedLoan } from "./loan-store.ts";
import type { Backoff } from "./task.ts";
import { type ChangeOrigin, recordChanges, type TaskChange, type TaskChangeType } from "./task-change.ts";

/** Why attempts end that their agent said nothing of. */
export interface EndingCause {
  ending: TaskEnding;
  /** Kept with each attempt and its task. */
  error: AttemptError;
  origin: ChangeOrigin;
}

/** Hears of tasks that could not be handled, with the reason that belongs in the log alone. */
export type ReportUnhandled = (task: { projectId: string; taskId: string }, error: unknown) => void;

/**
 * Ends attempts whose tasks the transaction has locked, set-based: one statement for all. Where that fails, the set is
 * halved behind savepoints until the task is found that cannot be handled; it is set aside with the reason, and the rest
 * go through. An error that a repeat of the transaction may cure is thrown.
 */
export async function endAttempts(
  tx: Tx,
  loans: LockedLoan[],
  cause: EndingCause,
  backoff: Backoff,
  report: ReportUnhandled,
): Promise<TaskChange[]> {
  if (loans.length === 0) return [];
  try {
    return await tx.transaction((inner) => writeEnds(inner, loans, cause, backoff));
  } catch (error) {
    if (isTransient(error)) throw error;
    const [first] = loans;
    if (loans.length === 1 && first !== undefined)
      return [await setAside(tx, first, cause, backoff, error, report)];
    const middle = Math.ceil(loans.length / 2);
    const before = await endAttempts(tx, loans.slice(0, middle), cause, backoff, report);
    return [...before, ...(await endAttempts(tx, loans.slice(middle), cause, backoff, report))];
  }
}

async function writeEnds(
  tx: Tx,
  loans: LockedLoan[],
  cause: EndingCause,
  backoff: Backoff,
): Promise<TaskChange[]> {
  const ends = loans.map((loan) => {
    const decision = decideEnding(loan, cause.ending, backoff);
    return { loan, decision, error: explainQuarantine(decision, cause.error) };
  });
  return await writeAll(tx, ends, cause.origin);
}

/** A task that waits for an operator says what for. */
function explainQuarantine({ after, tookDown }: EndOfAttempt, error: AttemptError): AttemptError {
  if (after.state !== "quarantined" || tookDown === undefined) return error;
  const message = `${MOST_TAKEN_DOWN} different agents went down while they ran it; the last one: ${error.message}`;
  return { ...error, message };
}

/** Writes decided ends of attempts, and the facts that they make. */
export async function writeAll(tx: Tx, ends: AttemptEnd[], origin: ChangeOrigin): Promise<TaskChange[]> {
  await writeAttemptEnds(tx, ends);
  const changes = ends.map(changeOf);
  await recordChanges(tx, changes, origin);
  return changes;
}

async function setAside(
  tx: Tx,
  loan: LockedLoan,
  { origin }: EndingCause,
  backoff: Backoff,
  failure: unknown,
  report: ReportUnhandled,
): Promise<TaskChange> {
  report(loan, failure);
  // The failure itself may speak of the database's inside, which is for the log.
  const code = databaseErrorCode(failure);
  const message = `it could not be handled when its loan ended${code === undefined ? "" : ` (database error ${code})`}`;
  try {
    return await tx.transaction(async (inner) => {
      const cause = {
        ending: { kind: "set-aside" },
        error: { message, context: undefined },
        origin,
      } as const;
      const [change] = await writeEnds(inner, [loan], cause, backoff);
      if (change === undefined) throw new Error("one end of an attempt makes one change");
      return change;
    });
  } catch (error) {
    if (isTransient(error)) throw error;
    report(loan, error);
    const stuck: TaskChange = {
      ...basicsOf(loan),
      type: "task.stuck",
      to: loan.state,
      reason: message,
      dueInMs: undefined,
    };
    await recordChanges(tx, [stuck], origin);
    return stuck;
  }
}

function basicsOf(loan: LockedLoan): Omit<TaskChange, "type" | "to" | "reason" | "dueInMs"> {
  const { projectId, taskId, kind, state: from, agentId, leaseEpoch } = loan;
  return { projectId, taskId, kind, from, agentId, leaseEpoch };
}

function changeOf({ loan, decision: { after }, error }: AttemptEnd): TaskChange {
  return {
    ...basicsOf(loan),
    type: typeOf(after),
    to: after.state,
    reason: error?.message ?? "",
    dueInMs: after.state === "pending" ? (after.delayMs ?? 0) : undefined,
    requirements: loan.requirements,
  };
}

function typeOf(after: AfterAttempt): TaskChangeType {
  switch (after.state) {
    case "pending":
      return "task.requeued";
    case "succeeded":
      return "task.succeeded";
    case "failed":
      return "task.failed";
    case "cancelled":
      return "task.cancelled";
    case "quarantined":
      return "task.quarantined";
    default:
      return assertNever(after);
  }
}

/** Which of an agent's tasks wait for another try, and which failed for good. */
export function countFailures(changes: TaskChange[]): {
  attempted: number;
  requeued: number;
  failed: number;
} {
  const count = (type: TaskChangeType) => changes.filter((change) => change.type === type).length;
  return { attempted: changes.length, requeued: count("task.requeued"), failed: count("task.failed") };
}
