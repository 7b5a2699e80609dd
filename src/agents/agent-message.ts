import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import {
  type AgentSchema,
  Liveness as LivenessNumber,
  AgentStatus as StatusNumber,
} from "../../gen/drover/v1/agent_pb.js";
import { formatId } from "../runtime/resource-id.ts";
import type { AgentStatus, Liveness } from "./agent.ts";
import type { AgentRecord } from "./agent-store.ts";

const statusNumbers = {
  pending: StatusNumber.PENDING,
  online: StatusNumber.ONLINE,
  busy: StatusNumber.BUSY,
  benchmarked: StatusNumber.BENCHMARKED,
  error: StatusNumber.ERROR,
} satisfies Record<AgentStatus, StatusNumber>;

const statusNames = {
  [StatusNumber.PENDING]: "pending",
  [StatusNumber.ONLINE]: "online",
  [StatusNumber.BUSY]: "busy",
  [StatusNumber.BENCHMARKED]: "benchmarked",
  [StatusNumber.ERROR]: "error",
} satisfies Record<Exclude<StatusNumber, StatusNumber.UNSPECIFIED>, AgentStatus>;

const livenessNumbers = {
  never: LivenessNumber.NEVER,
  live: LivenessNumber.LIVE,
  stale: LivenessNumber.STALE,
  offline: LivenessNumber.OFFLINE,
} satisfies Record<Liveness, LivenessNumber>;

const livenessNames = {
  [LivenessNumber.NEVER]: "never",
  [LivenessNumber.LIVE]: "live",
  [LivenessNumber.STALE]: "stale",
  [LivenessNumber.OFFLINE]: "offline",
} satisfies Record<Exclude<LivenessNumber, LivenessNumber.UNSPECIFIED>, Liveness>;

export function statusToMessage(status: AgentStatus): StatusNumber {
  return statusNumbers[status];
}

/** Validation has refused what is unspecified or unknown before. */
export function statusFromMessage(status: StatusNumber): AgentStatus {
  if (status === StatusNumber.UNSPECIFIED) throw new Error("an unspecified status passed validation");
  return statusNames[status];
}

export function livenessFromMessage(liveness: LivenessNumber): Liveness {
  if (liveness === LivenessNumber.UNSPECIFIED) throw new Error("an unspecified liveness passed validation");
  return livenessNames[liveness];
}

/** An agent as the API shows it, but for its errors, which another slice keeps. */
export function agentToMessage(agent: AgentRecord): MessageInitShape<typeof AgentSchema> {
  return {
    id: formatId("agent", agent.id),
    name: agent.name,
    status: statusNumbers[agent.status],
    liveness: livenessNumbers[agent.liveness],
    labels: agent.labels,
    capabilities: agent.capabilities,
    gauges: agent.gauges,
    recentErrors: {},
    version: agent.version,
    createdAt: timestampFromDate(agent.createdAt),
    statusChangedAt: timestampFromDate(agent.statusChangedAt),
    ...(agent.deviceInfo !== null && { deviceInfo: agent.deviceInfo }),
    ...(agent.bootId !== null && {
      session: { bootId: agent.bootId, epoch: agent.epoch, sequence: agent.sequence },
    }),
    ...(agent.lastSeenAt !== null && { lastHeartbeatAt: timestampFromDate(agent.lastSeenAt) }),
  };
}
