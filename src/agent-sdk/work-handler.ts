import type { JsonObject, JsonValue } from "@bufbuild/protobuf";
import type { WorkTask } from "./work-task.ts";

/** Why work has to stop. */
export type StopReason =
  /** An operator cancelled the task. */
  | "cancelled"
  /** The lease is at its end, or the server has taken it back: another agent may have the task. */
  | "lease-lost"
  /** The attempt has taken longer than the task allows. */
  | "timeout"
  /** The agent reported a fatal error, and all of its tasks failed over. */
  | "fatal"
  /** The agent leaves. */
  | "leaving"
  /** The session has ended. */
  | "ended";

/** The reason of a work's signal, once it is aborted. */
export class WorkStopped extends Error {
  readonly reason: StopReason;

  constructor(reason: StopReason, message: string) {
    super(message);
    this.name = "WorkStopped";
    this.reason = reason;
  }
}

/** Thrown by a handler that has more to say of a failure than an error's message. */
export class TaskFailedError extends Error {
  readonly retryable: boolean;
  readonly context: JsonObject | undefined;

  constructor(message: string, details: { retryable?: boolean; context?: JsonObject } = {}) {
    super(message);
    this.name = "TaskFailedError";
    this.retryable = details.retryable ?? true;
    this.context = details.context;
  }
}

/** What a handler has besides its task. */
export interface WorkContext {
  /** Aborted, with a WorkStopped as its reason, when the work has to stop. */
  readonly signal: AbortSignal;
  /** Says how much is done, from 0 to 1, and in a few words what. May be called as often as one likes. */
  progress(fraction: number, detail?: string): void;
  /** How long the lease still lasts, in milliseconds, as of now; negative past its end. */
  leaseRemainingMs(): number;
}

/**
 * Does a task of one kind. What it resolves to is the result, any JSON of at most 256 KiB; what it throws fails the
 * attempt, to be retried unless a TaskFailedError says otherwise.
 */
export type TaskHandler<Payload = JsonValue> = (
  task: WorkTask<Payload>,
  context: WorkContext,
) => Promise<unknown>;
