import type { AgentStatus } from "../agents/agent.ts";

/** What keeps an agent from being lent anything, whatever there is. */
export type ClaimBar = { readonly kind: "in-error" };

/** The rule for claims and assignments, and for those who explain them; undefined: nothing keeps it. */
export function findClaimBar({ status }: { status: AgentStatus }): ClaimBar | undefined {
  return status === "error" ? { kind: "in-error" } : undefined;
}
