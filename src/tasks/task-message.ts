import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import {
  type AttemptSchema,
  AttemptOutcome as OutcomeNumber,
  type StaleResultSchema,
  TaskState as StateNumber,
  type Task,
  TaskSchema,
} from "../../gen/drover/v1/task_pb.js";
import { unpackJson } from "../runtime/json-value.ts";
import { formatId } from "../runtime/resource-id.ts";
import type { AttemptRecord, StaleResultRecord } from "./attempt-store.ts";
import type { AttemptOutcome, TaskState } from "./task.ts";
import type { ShownTask } from "./task-service.ts";
import type { TaskRecord } from "./task-store.ts";

const stateNumbers = {
  pending: StateNumber.PENDING,
  leased: StateNumber.LEASED,
  running: StateNumber.RUNNING,
  succeeded: StateNumber.SUCCEEDED,
  failed: StateNumber.FAILED,
  cancelled: StateNumber.CANCELLED,
  quarantined: StateNumber.QUARANTINED,
} satisfies Record<TaskState, StateNumber>;

const stateNames = {
  [StateNumber.PENDING]: "pending",
  [StateNumber.LEASED]: "leased",
  [StateNumber.RUNNING]: "running",
  [StateNumber.SUCCEEDED]: "succeeded",
  [StateNumber.FAILED]: "failed",
  [StateNumber.CANCELLED]: "cancelled",
  [StateNumber.QUARANTINED]: "quarantined",
} satisfies Record<Exclude<StateNumber, StateNumber.UNSPECIFIED>, TaskState>;

/** Validation has refused what is unspecified or unknown before. */
export function stateFromMessage(state: StateNumber): TaskState {
  if (state === StateNumber.UNSPECIFIED) throw new Error("an unspecified state passed validation");
  return stateNames[state];
}

/** A task as lists and claims show it, without the results that were refused. */
export function taskToMessage(task: TaskRecord): Task {
  return create(TaskSchema, initOf(task));
}

/** A task as it is shown where one is asked for. */
export function shownTaskToMessage({ task, staleResults }: ShownTask): Task {
  return create(TaskSchema, { ...initOf(task), staleResults: staleResults.map(staleResultToMessage) });
}

function initOf(task: TaskRecord): MessageInitShape<typeof TaskSchema> & { $typeName?: never } {
  const { payload, result, error, timeoutMs, remainingMs, nextAttemptAt, startedAt, finishedAt } = task;
  return {
    id: formatId("task", task.id),
    kind: task.kind,
    state: stateNumbers[task.state],
    priority: task.priority,
    labels: task.labels,
    maxRetries: task.maxRetries,
    retries: task.retries,
    losses: task.losses,
    attempt: task.attempt,
    progress: task.progress,
    detail: task.detail,
    agent: task.agentName ?? "",
    createdAt: task.createdAt,
    ...(payload !== undefined && { payload: unpackJson(payload) }),
    ...(result !== undefined && { result: unpackJson(result) }),
    requiredCapabilities: [...task.requirements.capabilities],
    requiredLabels: task.requirements.labels,
    ...(task.notBefore !== undefined && { notBefore: task.notBefore }),
    ...(task.checkpoint !== undefined && { checkpoint: unpackJson(task.checkpoint) }),
    ...(timeoutMs !== undefined && { timeout: durationFromMs(timeoutMs) }),
    ...(remainingMs !== undefined && {
      lease: { epoch: task.leaseEpoch, remaining: durationFromMs(remainingMs) },
    }),
    ...(error !== undefined && { error: errorToMessage(error) }),
    ...(nextAttemptAt !== undefined && { nextAttemptAt }),
    ...(startedAt !== undefined && { startedAt }),
    ...(finishedAt !== undefined && { finishedAt }),
  };
}

const outcomeNumbers = {
  succeeded: OutcomeNumber.SUCCEEDED,
  failed: OutcomeNumber.FAILED,
  agent_failed: OutcomeNumber.AGENT_FAILED,
  timed_out: OutcomeNumber.TIMED_OUT,
  lost: OutcomeNumber.LOST,
  returned: OutcomeNumber.RETURNED,
  cancelled: OutcomeNumber.CANCELLED,
  set_aside: OutcomeNumber.SET_ASIDE,
} satisfies Record<AttemptOutcome, OutcomeNumber>;

/** One try of a task. */
export function attemptToMessage(attempt: AttemptRecord): MessageInitShape<typeof AttemptSchema> {
  const { number, leaseEpoch, agentName, agentId, startedAt, endedAt, outcome, error } = attempt;
  return {
    number,
    leaseEpoch,
    agent: agentName,
    agentId: formatId("agent", agentId),
    startedAt,
    ...(endedAt !== undefined && { endedAt }),
    ...(outcome !== undefined && { outcome: outcomeNumbers[outcome] }),
    ...(error !== undefined && { error: errorToMessage(error) }),
  };
}

function staleResultToMessage(stale: StaleResultRecord): MessageInitShape<typeof StaleResultSchema> {
  const { agentName: agent, leaseEpoch, kind, result, error, time } = stale;
  return {
    agent,
    leaseEpoch,
    kind,
    time,
    ...(result !== undefined && { result: unpackJson(result) }),
    ...(error !== undefined && { error: errorToMessage(error) }),
  };
}

function errorToMessage({ message, context }: NonNullable<TaskRecord["error"]>) {
  return { message, ...(context !== undefined && { context }) };
}
