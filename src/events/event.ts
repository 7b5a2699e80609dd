import type { JsonObject } from "../storage/schema.ts";

/** Every type of event; the part before the dot is what the event is about. */
export const eventTypes = [
  "agent.enrolled",
  "agent.status_changed",
  "agent.liveness_changed",
  "agent.removed",
  "error.reported",
  "liveness.brake_engaged",
  "liveness.brake_released",
  "project.created",
  "task.created",
  "task.leased",
  "task.started",
  "task.succeeded",
  "task.requeued",
  "task.failed",
  "task.cancelled",
  "task.quarantined",
  "token.created",
  "token.revoked",
] as const;

export type EventType = (typeof eventTypes)[number];

/** A fact, to be written in the transaction that makes it true. */
export interface EventDraft {
  projectId: string;
  type: EventType;
  /** Id of what it is about, such as `agent_0190…`. */
  subject: string;
  /** UUID of the agent that it concerns, for watchers of that agent. */
  agentId?: string | undefined;
  /** UUID of the task that it concerns, for watchers of that task. */
  taskId?: string | undefined;
  data?: JsonObject;
}
