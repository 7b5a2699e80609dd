import type { CordonChange } from "../agents/cordon-service.ts";
import type { Logger } from "../observability/logger.ts";
import { formatId } from "../runtime/resource-id.ts";
import type { SessionRegistry } from "../sessions/session-registry.ts";

/** After the commit: the log hears of it, and the agents that stay connected here. */
export function tellOfCordons(
  logger: Logger,
  sessions: SessionRegistry,
  changes: readonly CordonChange[],
): void {
  logCordons(logger, changes);
  for (const { agentId, to } of changes) {
    sessions.commandWaits(agentId);
    if (to === "none") sessions.recovered(agentId);
  }
}

/** One line for each, after the commit. */
export function logCordons(logger: Logger, changes: readonly CordonChange[]): void {
  for (const { agentId, agent, from, to } of changes)
    logger.info({ agentId: formatId("agent", agentId), agent, from, to }, "agent cordon changed");
}
