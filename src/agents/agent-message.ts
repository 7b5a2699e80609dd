import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import {
  type AgentSchema,
  Cordon as CordonNumber,
  Liveness as LivenessNumber,
  AgentStatus as StatusNumber,
} from "../../gen/drover/v1/agent_pb.js";
import { formatId } from "../runtime/resource-id.ts";
import type { AgentStatus, Liveness } from "./agent.ts";
import type { AgentRecord } from "./agent-store.ts";
import type { CordonState } from "./decide-cordon.ts";
import { decideDeaf, isMute } from "./decide-hearing.ts";

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

const cordonNumbers = {
  none: CordonNumber.NONE,
  draining: CordonNumber.DRAINING,
  cordoned: CordonNumber.CORDONED,
} satisfies Record<CordonState, CordonNumber>;

const cordonNames = {
  [CordonNumber.NONE]: "none",
  [CordonNumber.DRAINING]: "draining",
  [CordonNumber.CORDONED]: "cordoned",
} satisfies Record<Exclude<CordonNumber, CordonNumber.UNSPECIFIED>, CordonState>;

export function cordonFromMessage(cordon: CordonNumber): CordonState {
  if (cordon === CordonNumber.UNSPECIFIED) throw new Error("an unspecified cordon passed validation");
  return cordonNames[cordon];
}

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
    flapping: agent.flapping,
    deaf: decideDeaf(agent.liveness, agent.hearing) !== undefined,
    mute: isMute(agent.liveness, agent.hearing),
    labels: agent.labels,
    capabilities: agent.capabilities,
    gauges: agent.gauges,
    cordon: cordonNumbers[agent.cordon],
    cordonReason: agent.cordonReason,
    recentErrors: {},
    version: agent.version,
    createdAt: timestampFromDate(agent.createdAt),
    statusChangedAt: timestampFromDate(agent.statusChangedAt),
    ...(agent.drainDeadlineAt !== null && { drainDeadline: timestampFromDate(agent.drainDeadlineAt) }),
    ...(agent.deviceInfo !== null && { deviceInfo: agent.deviceInfo }),
    ...(agent.bootId !== null && {
      session: { bootId: agent.bootId, epoch: agent.epoch, sequence: agent.sequence },
    }),
    ...(agent.lastSeenAt !== null && { lastHeartbeatAt: timestampFromDate(agent.lastSeenAt) }),
  };
}
