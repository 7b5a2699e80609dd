import { assertNever } from "../runtime/assert-never.ts";
import type { AttemptOutcome, Backoff, LentTask, Loan, Task } from "./task.ts";

/** Losses after which a task is still tried again; they burn none of its retries. */
export const MAX_LOSSES = 10;

/** So many different agents that went down while they ran a task, and it is quarantined: it may be what does it. */
export const MOST_TAKEN_DOWN = 3;

/** So many different tasks that an agent failed, with no success between them, and it is cordoned: it may be to blame. */
export const MOST_FAILED_IN_A_ROW = 5;

/** What can happen to a task. What an agent says of one comes under a loan, which may have ended. */
export type TaskInput =
  | { readonly kind: "claim"; readonly agentId: string }
  | { readonly kind: "accept"; readonly loan: Loan }
  | { readonly kind: "complete"; readonly loan: Loan }
  | { readonly kind: "fail"; readonly loan: Loan; readonly retryable: boolean }
  | { readonly kind: "cancel" }
  | { readonly kind: "retry" }
  | TaskEnding;

/** What ends a loan without a word of its agent on the task. */
export type TaskEnding =
  /** The agent reported a fatal error, or that it is in error. */
  | { readonly kind: "agent-failed" }
  /** The attempt ran longer than the task allows. */
  | { readonly kind: "timed-out" }
  /** The agent was lost. */
  | { readonly kind: "lost" }
  /** The agent lives, and let the lease end. */
  | { readonly kind: "lease-ended" }
  /** The agent left, or was removed: nobody's failure. */
  | { readonly kind: "returned" }
  /** The task could not be handled. */
  | { readonly kind: "set-aside" };

/** What becomes of a task. */
export type TaskDecision =
  | { readonly kind: "lend"; readonly loan: Loan }
  | { readonly kind: "run" }
  | EndOfAttempt
  /** Ended before anyone held it. */
  | { readonly kind: "cancel" }
  /** It has ended and waits again, with all of its chances. */
  | { readonly kind: "retry" }
  /** It waits already: not for its backoff any more. */
  | { readonly kind: "hasten" }
  /** It stays as it is: the loan is over, or the task is not in a state to which this can happen. */
  | { readonly kind: "refuse" };

/** The end of an attempt, and what the task is afterwards. */
export type EndOfAttempt = {
  readonly kind: "end";
  readonly outcome: AttemptOutcome;
  readonly after: AfterAttempt;
  /** The agent went down while it ran the task, which may be why. */
  readonly tookDown?: true;
};

/** What a task is after an attempt; `delayMs` undefined: at once, in its place by age. */
export type AfterAttempt =
  | {
      readonly state: "pending";
      readonly retries: number;
      readonly losses: number;
      readonly delayMs: number | undefined;
    }
  | {
      readonly state: "succeeded" | "failed" | "cancelled" | "quarantined";
      readonly retries: number;
      readonly losses: number;
    };

/**
 * Decides what becomes of a task.
 *
 *                 claim              accept
 *    ┌─▶ pending ───────▶ leased ─────────────▶ running
 *    │      │               │                      │
 *    │      │ cancel        └──────────┬───────────┘
 *    │      │                          │
 *    │      │          ┌───────────────┼──────────────────────────────┐
 *    │      ▼          ▼               ▼                              ▼
 *    │   cancelled ◀─ cancel        complete ─▶ succeeded      fail, agent failed, timed out,
 *    │      ▲                                                  lost, returned, set aside
 *    │      │ cancel                                                  │
 *    │   quarantined ◀─ set aside, or the third agent went down ──────┤
 *    │                                                                │
 *    │                        failed ◀──── no chance is left ─────────┤
 *    │                                                                │
 *    └──────────── a chance is left: retries for failures, ───────────┘
 *                  losses for losses; a return uses none
 *
 * A retry by an operator takes what failed, was cancelled or is quarantined back to pending, with all of its chances.
 * Writes under a loan count only while it is the newest and the task is still lent by it.
 */
export function decideTask(task: Task, input: TaskInput, backoff: Backoff): TaskDecision {
  switch (input.kind) {
    case "claim":
      if (task.state !== "pending") return { kind: "refuse" };
      return { kind: "lend", loan: { agentId: input.agentId, leaseEpoch: task.leaseEpoch + 1n } };
    case "accept":
      return isLentBy(task, input.loan) ? { kind: "run" } : { kind: "refuse" };
    case "complete":
      return isLentBy(task, input.loan) ? ended("succeeded", "succeeded", task) : { kind: "refuse" };
    case "fail":
      if (!isLentBy(task, input.loan)) return { kind: "refuse" };
      return input.retryable
        ? decideEnding(task, { kind: "failed" }, backoff)
        : ended("failed", "failed", task);
    case "cancel":
      return decideCancel(task);
    case "retry":
      return decideRetry(task);
    case "agent-failed":
    case "timed-out":
    case "lost":
    case "lease-ended":
    case "returned":
    case "set-aside":
      return isLent(task) ? decideEnding(task, input, backoff) : { kind: "refuse" };
    default:
      return assertNever(input);
  }
}

/** Decides what becomes of a lent task whose attempt ends, by any way but its completion and a failure for good. */
export function decideEnding(
  task: LentTask,
  ending: TaskEnding | { kind: "failed" },
  backoff: Backoff,
): EndOfAttempt {
  const { retries, losses } = task;
  switch (ending.kind) {
    case "failed":
      return afterFailure(task, "failed", backoff);
    case "agent-failed":
      return afterFall(task, afterFailure(task, "agent_failed", backoff));
    case "timed-out":
      return afterFailure(task, "timed_out", backoff);
    case "lost":
      return afterFall(task, afterLoss(task));
    case "lease-ended":
      return afterLoss(task);
    case "returned":
      return {
        kind: "end",
        outcome: "returned",
        after: { state: "pending", retries, losses, delayMs: undefined },
      };
    case "set-aside":
      return ended("set_aside", "quarantined", task);
    default:
      return assertNever(ending);
  }
}

/** How long a task waits that failed after so many retries, in ms. */
export function backoffMs(retries: number, { firstMs, longestMs }: Backoff): number {
  // 2 to the power of a thousand is still a number; the product may be infinite, and the minimum is not.
  return Math.min(longestMs, firstMs * 2 ** retries);
}

function decideCancel(task: Task): TaskDecision {
  switch (task.state) {
    case "pending":
    case "quarantined":
      return { kind: "cancel" };
    case "leased":
    case "running":
      return ended("cancelled", "cancelled", task);
    case "succeeded":
    case "failed":
    case "cancelled":
      return { kind: "refuse" };
    default:
      return assertNever(task);
  }
}

function decideRetry(task: Task): TaskDecision {
  switch (task.state) {
    case "pending":
      return { kind: "hasten" };
    case "failed":
    case "cancelled":
    case "quarantined":
      return { kind: "retry" };
    case "leased":
    case "running":
    case "succeeded":
      return { kind: "refuse" };
    default:
      return assertNever(task);
  }
}

function afterFailure(task: LentTask, outcome: AttemptOutcome, backoff: Backoff): EndOfAttempt {
  const { retries, losses, maxRetries } = task;
  if (retries >= maxRetries) return ended(outcome, "failed", task);
  const delayMs = backoffMs(retries, backoff);
  return { kind: "end", outcome, after: { state: "pending", retries: retries + 1, losses, delayMs } };
}

function afterLoss({ retries, losses }: LentTask): EndOfAttempt {
  const next = losses + 1;
  if (next > MAX_LOSSES)
    return { kind: "end", outcome: "lost", after: { state: "failed", retries, losses: next } };
  return {
    kind: "end",
    outcome: "lost",
    after: { state: "pending", retries, losses: next, delayMs: undefined },
  };
}

/** The end of an attempt whose agent went down; a task that did not run yet has no part in it. */
function afterFall(task: LentTask, end: EndOfAttempt): EndOfAttempt {
  if (task.state !== "running") return end;
  const { retries, losses } = end.after;
  return (task.tookDown ?? 0) + 1 >= MOST_TAKEN_DOWN
    ? { ...end, after: { state: "quarantined", retries, losses }, tookDown: true }
    : { ...end, tookDown: true };
}

function ended(
  outcome: AttemptOutcome,
  state: Exclude<AfterAttempt["state"], "pending">,
  { retries, losses }: Task,
): EndOfAttempt {
  return { kind: "end", outcome, after: { state, retries, losses } };
}

function isLent(task: Task): task is LentTask {
  return task.state === "leased" || task.state === "running";
}

function isLentBy(task: Task, loan: Loan): task is LentTask {
  return isLent(task) && task.agentId === loan.agentId && task.leaseEpoch === loan.leaseEpoch;
}
