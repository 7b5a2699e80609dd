import type { AgentStatus } from "../agents/agent.ts";
import type { CordonState } from "../agents/decide-cordon.ts";

/** What keeps an agent from being lent anything, whatever there is. */
export type ClaimBar = { readonly kind: "in-error" } | { readonly kind: "draining" | "cordoned" };

/** The rule for claims and assignments, and for those who explain them; undefined: nothing keeps it. */
export function findClaimBar({
  status,
  cordon = "none",
}: {
  status: AgentStatus;
  /** Left out: none. */
  cordon?: CordonState;
}): ClaimBar | undefined {
  if (status === "error") return { kind: "in-error" };
  return cordon === "none" ? undefined : { kind: cordon };
}
