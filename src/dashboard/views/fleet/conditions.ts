import { Cordon } from "../../../../gen/drover/v1/agent_pb.js";
import { Severity } from "../../../../gen/drover/v1/error_report_pb.js";
import type { Condition } from "./filter-agents.ts";

/** What agents are asked for besides their status and liveness. */
export const conditions: readonly Condition[] = [
  {
    key: "draining",
    label: "Draining",
    explains: "finishes what it holds and gets nothing new",
    holds: (agent) => agent.cordon === Cordon.DRAINING,
  },
  {
    key: "cordoned",
    label: "Cordoned",
    explains: "gets no new tasks until it is uncordoned",
    holds: (agent) => agent.cordon === Cordon.CORDONED,
  },
  {
    key: "deaf",
    label: "Deaf",
    explains: "beats and does not listen: its stream is gone, or it answers no echo",
    holds: (agent) => agent.deaf,
  },
  {
    key: "mute",
    label: "Mute",
    explains: "its stream is open, and no heartbeats come",
    holds: (agent) => agent.mute,
  },
  {
    key: "flapping",
    label: "Flapping",
    explains: "lost and back again and again of late",
    holds: (agent) => agent.flapping,
  },
  {
    key: "failing",
    label: "With errors",
    explains: "reported an error worse than a warning in the last 24 hours",
    holds: (agent) => (agent.recentErrors?.worstSeverity ?? 0) > Severity.WARNING,
  },
];
