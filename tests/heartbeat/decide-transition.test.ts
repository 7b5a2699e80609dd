import { describe, expect, it } from "vitest";
import {
  type AgentStatus,
  agentStatuses,
  type ReportedStatus,
  reportedStatuses,
} from "../../src/agents/agent.ts";
import { severities } from "../../src/error-reports/severity.ts";
import { decideTransition, type TransitionCause } from "../../src/heartbeat/decide-transition.ts";

// The whole table of the rule for reports without a fatal, written out: from, reported, cause or "none".
const table: readonly [AgentStatus, ReportedStatus, TransitionCause | "none", string][] = [
  ["pending", "online", "first-report", "first heartbeat: reported online"],
  ["pending", "busy", "first-report", "first heartbeat: reported busy"],
  ["pending", "benchmarked", "first-report", "first heartbeat: reported benchmarked"],
  ["pending", "error", "reported-error", "reported error"],
  ["online", "online", "none", ""],
  ["online", "busy", "reported", "reported busy"],
  ["online", "benchmarked", "reported", "reported benchmarked"],
  ["online", "error", "reported-error", "reported error"],
  ["busy", "online", "reported", "reported online"],
  ["busy", "busy", "none", ""],
  ["busy", "benchmarked", "reported", "reported benchmarked"],
  ["busy", "error", "reported-error", "reported error"],
  ["benchmarked", "online", "reported", "reported online"],
  ["benchmarked", "busy", "reported", "reported busy"],
  ["benchmarked", "benchmarked", "none", ""],
  ["benchmarked", "error", "reported-error", "reported error"],
  ["error", "online", "recovered", "recovered: reported online"],
  ["error", "busy", "recovered", "recovered: reported busy"],
  ["error", "benchmarked", "recovered", "recovered: reported benchmarked"],
  ["error", "error", "none", ""],
];
const harmless = [undefined, ...severities.filter((severity) => severity !== "fatal")];
const everyReport = reportedStatuses.flatMap((status) =>
  [undefined, ...severities].map((errorSeverity) => ({ status, errorSeverity })),
);
const everyCase = agentStatuses.flatMap((prior) => everyReport.map((report) => ({ prior, report })));

describe("decideTransition", () => {
  it("covers every pair in the table", () => {
    expect(new Set(table.map(([from, to]) => `${from}>${to}`)).size).toBe(
      agentStatuses.length * reportedStatuses.length,
    );
  });

  it.each(table)("%s that reports %s: %s", (prior, status, cause, reason) => {
    const failTasks = status === "error";
    const expected =
      cause === "none"
        ? { kind: "none", status: prior, failTasks }
        : { kind: "transition", from: prior, to: status, cause, reason, failTasks };
    for (const errorSeverity of harmless) {
      expect(decideTransition(prior, { status, errorSeverity })).toEqual(expected);
    }
  });

  it.each(agentStatuses)("a fatal puts an agent that was %s in error, whatever it reports", (prior) => {
    for (const status of reportedStatuses) {
      expect(decideTransition(prior, { status, errorSeverity: "fatal" })).toEqual(
        prior === "error"
          ? { kind: "none", status: "error", failTasks: true }
          : {
              kind: "transition",
              from: prior,
              to: "error",
              cause: "fatal",
              reason: "fatal error reported",
              failTasks: true,
            },
      );
    }
  });

  it("never writes a transition to the same status, nor back to pending", () => {
    for (const { prior, report } of everyCase) {
      const decision = decideTransition(prior, report);
      if (decision.kind === "none") {
        expect(decision.status).toBe(prior);
      } else {
        expect(decision.from).toBe(prior);
        expect(decision.to).not.toBe(prior);
        expect(decision.to).not.toBe("pending");
      }
    }
  });

  it("is settled: the same report again changes nothing more", () => {
    for (const { prior, report } of everyCase) {
      const first = decideTransition(prior, report);
      const after = first.kind === "none" ? first.status : first.to;
      const second = decideTransition(after, report);
      expect(second).toEqual({ kind: "none", status: after, failTasks: first.failTasks });
    }
  });

  it("fails tasks over exactly when the agent ends in error", () => {
    for (const { prior, report } of everyCase) {
      const decision = decideTransition(prior, report);
      const after = decision.kind === "none" ? decision.status : decision.to;
      expect(decision.failTasks).toBe(after === "error");
    }
  });
});
