import type { MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { type ContextKey, createContextKey, type ServiceImpl } from "@connectrpc/connect";
import type {
  AgentService,
  HeartbeatRequest,
  HeartbeatResponseSchema,
} from "../../gen/drover/v1/agent_service_pb.js";
import { statusFromMessage, statusToMessage } from "../agents/agent-message.ts";
import { commandToMessage } from "../commands/command-message.ts";
import { severityFromMessage } from "../error-reports/error-report-message.ts";
import { callerWithRole } from "../identity/caller.ts";
import { packJson } from "../runtime/json-value.ts";
import { invalidField } from "../runtime/refusal.ts";
import type { JsonObject } from "../storage/schema.ts";
import type { HeldTasks } from "../tasks/held-tasks.ts";
import { renewalDueKey } from "../tokens/authenticate.ts";
import type { Heartbeat, HeartbeatAnswer } from "./heartbeat.ts";
import type { HeartbeatPacer } from "./heartbeat-pacer.ts";
import type { HeartbeatService } from "./heartbeat-service.ts";

/** Set for a heartbeat that comes by a stream: the run that the stream said hello for. */
export const streamRunKey: ContextKey<StreamRun | undefined> = createContextKey<StreamRun | undefined>(
  undefined,
  { description: "the run of the stream" },
);

/** A run of an agent's process, and the epoch that it was given. */
export interface StreamRun {
  readonly bootId: string;
  readonly epoch: bigint;
}

/** Heartbeat of AgentService. */
export function createHeartbeatRpc(
  service: HeartbeatService,
  tasks: HeldTasks,
  pacer: Pick<HeartbeatPacer, "next">,
): Pick<ServiceImpl<typeof AgentService>, "heartbeat"> {
  return {
    async heartbeat(request, context) {
      const caller = callerWithRole(context, "agent");
      const heartbeat = readHeartbeat(request, context.values.get(streamRunKey));
      const answer = await service.beat(caller, heartbeat, context.values.get(renewalDueKey));
      // An agent in error could take none.
      const urgent = answer.status !== "error" && tasks.hasHighPriority(caller);
      const hasHighPriorityTasks = typeof urgent === "boolean" ? urgent : await urgent;
      return {
        ...toMessage(answer),
        hasHighPriorityTasks,
        nextHeartbeat: durationFromMs(pacer.next()),
      };
    },
  };
}

function readHeartbeat(request: HeartbeatRequest, stream: StreamRun | undefined): Heartbeat {
  const status = statusFromMessage(request.status);
  if (status === "pending") throw invalidField("status", "is set by the server alone");
  const { currentTask, heldLeases, acknowledgedCommands, error, session } = request;
  return {
    status,
    tasks: {
      currentTask: currentTask && { ...currentTask, checkpoint: packJson(currentTask.checkpoint) },
      heldLeases,
    },
    acknowledgedCommands,
    error: error && {
      severity: readSeverity(error.severity),
      message: error.message,
      // A google.protobuf.Struct reaches handlers as the JSON object that it is.
      context: error.context as JsonObject | undefined,
    },
    profile: {
      labels: isEmpty(request.labels) ? undefined : request.labels,
      capabilities: request.capabilities.length === 0 ? undefined : request.capabilities,
      deviceInfo: request.deviceInfo as JsonObject | undefined,
      gauges: isEmpty(request.gauges) ? undefined : request.gauges,
    },
    session: readSession(session, stream),
  };
}

function readSession(
  session: HeartbeatRequest["session"],
  stream: StreamRun | undefined,
): Heartbeat["session"] {
  if (session === undefined) return stream && { ...stream, sequence: undefined };
  const { bootId, sequence } = session;
  if (stream !== undefined && bootId !== stream.bootId) {
    throw invalidField("session.boot_id", "must be the one that the stream began with");
  }
  return { bootId, sequence, epoch: stream?.epoch };
}

function readSeverity(number: NonNullable<HeartbeatRequest["error"]>["severity"]): "warning" | "fatal" {
  const severity = severityFromMessage(number);
  if (severity === "warning" || severity === "fatal") return severity;
  throw invalidField("error.severity", "must be warning or fatal");
}

function isEmpty(map: Record<string, unknown>): boolean {
  return Object.keys(map).length === 0;
}

function toMessage(answer: HeartbeatAnswer): MessageInitShape<typeof HeartbeatResponseSchema> {
  const { transition, taskFailures, renewedToken } = answer;
  return {
    acknowledged: true,
    agentStatus: statusToMessage(answer.status),
    duplicate: answer.duplicate,
    reportFullState: answer.reportFullState,
    ...(transition !== undefined && {
      transition: {
        from: statusToMessage(transition.from),
        to: statusToMessage(transition.to),
        reason: transition.reason,
      },
    }),
    ...(taskFailures !== undefined && { taskFailures }),
    ...(renewedToken !== undefined && { renewedToken }),
    leases: answer.leases.map(({ taskId, leaseEpoch, remainingMs }) => ({
      taskId,
      leaseEpoch,
      renewed: remainingMs !== undefined,
      ...(remainingMs !== undefined && { remaining: durationFromMs(remainingMs) }),
    })),
    commands: answer.commands.map(commandToMessage),
  };
}
