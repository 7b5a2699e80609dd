import { Severity } from "../../../../gen/drover/v1/error_report_pb.js";
import type { Condition } from "./filter-agents.ts";

/** What agents are asked for besides their status and liveness. */
export const conditions: readonly Condition[] = [
  {
    key: "failing",
    label: "With errors",
    explains: "reported an error worse than a warning in the last 24 hours",
    holds: ({ agent }) => (agent.recentErrors?.worstSeverity ?? 0) > Severity.WARNING,
  },
];
