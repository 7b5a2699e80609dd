import { formatId } from "../runtime/resource-id.ts";
import type { JsonObject } from "../storage/schema.ts";

/** Every type of event; the part before the dot is what the event is about. */
export const eventTypes = [
  "agent.enrolled",
  "agent.status_changed",
  "agent.liveness_changed",
  "agent.cordoned",
  "agent.draining",
  "agent.uncordoned",

  "agent.flapping_started",
  "agent.flapping_ended",
  "agent.removed",
  "error.reported",
  "issue.closed",
  "issue.reopened",
  "liveness.brake_engaged",
  "liveness.brake_released",
  "project.created",
  "run.started",
  "run.finished",
  "task.created",
  "task.leased",
  "task.started",
  "task.succeeded",
  "task.requeued",
  "task.failed",
  "task.cancelled",
  "task.quarantined",
  "task.stuck",
  "token.created",
  "token.renewed",
  "token.activated",
  "token.retired",
  "token.secret_replaced",
  "token.revoked",
  "tracker.created",
  "tracker.updated",
  "tracker.deleted",
] as const;

export type EventType = (typeof eventTypes)[number];

/** A fact, to be written in the transaction that makes it true. */
export interface EventDraft {
  projectId: string;
  type: EventType;
  /** Id of what it is about, such as `agent_0190…`. */
  subject: string;
  /** UUID of the agent that it concerns, for watchers of that agent; its name is added to the event's data. */
  agentId?: string | undefined;
  /** UUID of the task that it concerns, for watchers of that task. */
  taskId?: string | undefined;
  /** What a screen needs to follow; never a secret, never a payload. */
  data?: JsonObject;
}

/** A change of an agent's status or liveness. */
export interface AgentChange {
  projectId: string;
  agentId: string;
  type: "agent.status_changed" | "agent.liveness_changed";
  from: string;
  to: string;
  reason: string;
  /** `agent:NAME`, `token:ID` or `server`. */
  actor: string;
}

/** The event of an agent's change; also of a stale agent's, which the audit log leaves out. */
export function agentChanged({ projectId, agentId, type, ...data }: AgentChange): EventDraft {
  return { projectId, type, subject: formatId("agent", agentId), agentId, data };
}

/** Characters of a text within an event's data: the whole text is read from what the event is about. */
const TEXT_CHARACTERS = 256;

/** A text short enough for an event's data. */
export function shortText(text: string): string {
  if (text.length <= TEXT_CHARACTERS) return text;
  // By code points: half of a surrogate pair is no text.
  return `${[...text.slice(0, 2 * TEXT_CHARACTERS)].slice(0, TEXT_CHARACTERS - 1).join("")}…`;
}
