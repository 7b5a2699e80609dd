import type { AgentStatus, ReportedStatus } from "../agents/agent.ts";
import type { Severity } from "../error-reports/severity.ts";

export type Report = {
  readonly status: ReportedStatus;
  /** Severity of the error that came with the report; undefined without one. */
  readonly errorSeverity: Severity | undefined;
};

/** Why a status changed: what decided, in the order in which it is asked. */
export type TransitionCause = "fatal" | "reported-error" | "recovered" | "first-report" | "reported";

type Transition = {
  readonly kind: "transition";
  readonly from: AgentStatus;
  readonly to: AgentStatus;
  readonly cause: TransitionCause;
  /** Words for the audit log. */
  readonly reason: string;
};

type NoTransition = { readonly kind: "none"; readonly status: AgentStatus };

/**
 * What a report does to its agent. `failTasks`: every active task of the agent fails over; true also without a
 * transition, since an agent in `error` that reports a fatal again may have been given a task in between.
 */
export type HeartbeatDecision = (Transition | NoTransition) & { readonly failTasks: boolean };

/** Decides the status after a report: a fatal error wins, then a reported ERROR, then whatever was reported. */
export function decideTransition(prior: AgentStatus, report: Report): HeartbeatDecision {
  const cause = causeOf(prior, report);
  const failTasks = cause === "fatal" || cause === "reported-error";
  const to = failTasks ? "error" : report.status;
  if (to === prior) return { kind: "none", status: prior, failTasks };
  return { kind: "transition", from: prior, to, cause, reason: reasonOf(cause, to), failTasks };
}

function causeOf(prior: AgentStatus, report: Report): TransitionCause {
  if (report.errorSeverity === "fatal") return "fatal";
  if (report.status === "error") return "reported-error";
  if (prior === "error") return "recovered";
  return prior === "pending" ? "first-report" : "reported";
}

function reasonOf(cause: TransitionCause, to: AgentStatus): string {
  const reasons = {
    fatal: "fatal error reported",
    "reported-error": "reported error",
    recovered: `recovered: reported ${to}`,
    "first-report": `first heartbeat: reported ${to}`,
    reported: `reported ${to}`,
  } satisfies Record<TransitionCause, string>;
  return reasons[cause];
}
