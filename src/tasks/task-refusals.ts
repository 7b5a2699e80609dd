import { Refusal } from "../runtime/refusal.ts";
import type { ClaimBar } from "./may-claim.ts";

/** Also for a task of another project, or of another agent: whoever has nothing to do with it learns nothing. */
export function noSuchTask(): Refusal {
  return new Refusal("not-found", "no such task");
}

export function agentInError(): Refusal {
  return new Refusal(
    "failed-precondition",
    "the agent is in error: it gets and ends no tasks until it has recovered",
    {
      reason: "AGENT_IN_ERROR",
    },
  );
}

/** Said to the server's own assignments alone: an agent that claims waits instead. */
function agentCordoned(): Refusal {
  return new Refusal("failed-precondition", "the agent is cordoned or draining: it gets no tasks", {
    reason: "AGENT_CORDONED",
  });
}

/** Why an agent is lent nothing, as a refusal. */
export function refusalOfBar(bar: ClaimBar): Refusal {
  return bar.kind === "in-error" ? agentInError() : agentCordoned();
}

export function isCordoned(error: unknown): boolean {
  return error instanceof Refusal && error.reason === "AGENT_CORDONED";
}

export function leaseLost(): Refusal {
  return new Refusal("failed-precondition", "the lease under this epoch has ended: stop the work", {
    reason: "LEASE_LOST",
  });
}

export function taskEnded(state: string): Refusal {
  return new Refusal("failed-precondition", `the task has ended: its state is ${state}`, {
    reason: "TASK_ENDED",
  });
}

export function taskIsLent(): Refusal {
  return new Refusal("failed-precondition", "an agent has the task: cancel it first, or wait for its end", {
    reason: "TASK_LENT",
  });
}
