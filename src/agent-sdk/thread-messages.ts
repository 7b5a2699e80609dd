import type { JsonObject, JsonValue } from "@bufbuild/protobuf";
import type { CallRefusal } from "./agent-error.ts";
import type { ConnectionState } from "./connection-state.ts";
import type { SessionEnd } from "./plan-reconnect.ts";
import type { ErrorReport, WorkTask } from "./work-task.ts";

/** Names one loan of one task. */
export interface LeaseKey {
  readonly taskId: string;
  readonly leaseEpoch: bigint;
}

/** Until when a lease lasts and for how long it was given, on the monotonic clock that all threads share. */
export interface LeaseTerm {
  readonly endsAtMs: number;
  readonly lengthMs: number;
}

/** How work ended. */
export type Outcome =
  | { readonly kind: "complete"; readonly result: JsonValue }
  | {
      readonly kind: "fail";
      readonly message: string;
      readonly context: JsonObject | undefined;
      readonly retryable: boolean;
    };

/** What became of an agent's tasks by a fatal error. */
export interface TaskFailureCounts {
  readonly attempted: number;
  readonly requeued: number;
  readonly failed: number;
}

/** What the thread that works tells the thread that keeps the session. */
export type ToSession =
  /** The agent works on this many tasks at a time, of these kinds; 0 stops claiming. */
  | { readonly kind: "slots"; readonly slots: number; readonly kinds: readonly string[] }
  | {
      readonly kind: "progress";
      readonly lease: LeaseKey;
      readonly progress: number;
      readonly detail: string | undefined;
    }
  | { readonly kind: "outcome"; readonly lease: LeaseKey; readonly outcome: Outcome }
  /** The work has stopped and there is nothing to say of it. */
  | { readonly kind: "dropped"; readonly lease: LeaseKey }
  | { readonly kind: "report"; readonly call: number; readonly report: ErrorReport }
  | {
      readonly kind: "fatal";
      readonly call: number;
      readonly message: string;
      readonly context: JsonObject | undefined;
    }
  | { readonly kind: "recover" }
  | { readonly kind: "gauges"; readonly gauges: Readonly<Record<string, number>> }
  /** The credential store has done what it was asked; `problem` says why not. */
  | { readonly kind: "stored"; readonly call: number; readonly problem: string | undefined }
  | { readonly kind: "leave"; readonly withinMs: number }
  | { readonly kind: "close" };

/** What the thread that keeps the session tells the thread that works. */
export type FromSession =
  | { readonly kind: "state"; readonly state: ConnectionState }
  /** Work may begin: the lease was accepted. */
  | { readonly kind: "task"; readonly task: WorkTask; readonly lease: LeaseKey; readonly term: LeaseTerm }
  | { readonly kind: "renewed"; readonly lease: LeaseKey; readonly term: LeaseTerm }
  | { readonly kind: "lost"; readonly lease: LeaseKey; readonly why: string }
  | { readonly kind: "cancelled"; readonly taskId: string; readonly why: string }
  /** The server asks the agent to end: it is to take no more tasks, end those at hand, and leave. */
  | { readonly kind: "shutDown"; readonly why: string }
  /** An outcome was answered; `refusal` says why it does not count. */
  | { readonly kind: "settled"; readonly lease: LeaseKey; readonly refusal: CallRefusal | undefined }
  | { readonly kind: "reported"; readonly call: number; readonly errorId: string }
  | { readonly kind: "failedOver"; readonly call: number; readonly tasks: TaskFailureCounts }
  | { readonly kind: "refused"; readonly call: number; readonly refusal: CallRefusal }
  /** Keep this token beside the one in use, durably, and answer with `stored`. */
  | { readonly kind: "keepToken"; readonly call: number; readonly token: string }
  /** The kept token was accepted: the one before has ended. */
  | { readonly kind: "promoteToken" }
  /** Something that an operator should know, in words. */
  | { readonly kind: "notice"; readonly text: string }
  | { readonly kind: "ended"; readonly end: SessionEnd };
