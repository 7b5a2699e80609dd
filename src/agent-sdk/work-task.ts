import { type JsonObject, type JsonValue, toJson } from "@bufbuild/protobuf";
import { type Duration, ValueSchema } from "@bufbuild/protobuf/wkt";
import type { Task } from "../../gen/drover/v1/task_pb.js";

/** A task as a handler sees it. The payload's type is what the program says it is; nothing checks it. */
export interface WorkTask<Payload = JsonValue> {
  readonly id: string;
  readonly kind: string;
  /** Any JSON; null where the task has none. */
  readonly payload: Payload;
  /** 1 for the first try. */
  readonly attempt: number;
  readonly priority: number;
  readonly labels: Readonly<Record<string, string>>;
  /** The longest time for this attempt in milliseconds; undefined: no limit. */
  readonly timeoutMs: number | undefined;
}

/** How bad an error is. */
export type ErrorSeverity = "info" | "warning" | "minor" | "major" | "critical" | "fatal";

/** An error between heartbeats; it never changes the agent's status. */
export interface ErrorReport {
  readonly severity: ErrorSeverity;
  /** 1 to 4,096 characters; what is longer is cut. */
  readonly message: string;
  /** At most 16 KiB as compact JSON, 32 levels. */
  readonly context?: JsonObject;
  readonly taskId?: string;
}

export function workTaskOf(task: Task): WorkTask {
  return {
    id: task.id,
    kind: task.kind,
    payload: task.payload === undefined ? null : toJson(ValueSchema, task.payload),
    attempt: task.attempt,
    priority: task.priority,
    labels: task.labels,
    timeoutMs: task.timeout === undefined ? undefined : msOf(task.timeout),
  };
}

/** Milliseconds of a duration; 0 for none. */
export function msOf(duration: Duration | undefined): number {
  return duration === undefined ? 0 : Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}
