/** Where a task is in its life; `decide-task.ts` draws how it gets from one to the next. */
export const taskStates = [
  "pending",
  "leased",
  "running",
  "succeeded",
  "failed",
  "cancelled",
  "quarantined",
] as const;
/** One of `taskStates`. */
export type TaskState = (typeof taskStates)[number];

/** How an attempt ended. */
export type AttemptOutcome =
  | "succeeded"
  | "failed"
  | "agent_failed"
  | "timed_out"
  | "lost"
  | "returned"
  | "cancelled"
  | "set_aside";

/** What a task has used up of its chances, and of how many. */
export interface TaskChances {
  /** How often a failed try is repeated. */
  readonly maxRetries: number;
  /** Retries that failures have used up. */
  readonly retries: number;
  /** Loans that ended without an answer. */
  readonly losses: number;
  /** Epoch of the newest loan; 0 before the first. */
  readonly leaseEpoch: bigint;
}

/** The loan of a task to an agent. Only a write under this agent and this epoch counts. */
export interface Loan {
  readonly agentId: string;
  readonly leaseEpoch: bigint;
}

/** A task as far as rules look at it. */
export type Task = TaskChances &
  (
    | { readonly state: "pending" }
    | {
        readonly state: "leased" | "running";
        readonly agentId: string;
        /** How many other agents went down while they ran it; left out: none. */
        readonly tookDown?: number;
      }
    | { readonly state: "succeeded" | "failed" | "cancelled" | "quarantined" }
  );

/** A task that is lent. */
export type LentTask = Extract<Task, { state: "leased" | "running" }>;

/** How long a failed task waits before its next try, in ms: doubling from the first up to the longest. */
export interface Backoff {
  readonly firstMs: number;
  readonly longestMs: number;
}

/** Why a task was cancelled where its operator did not say. */
export const CANCELLED_BY_OPERATOR = "cancelled by an operator";
