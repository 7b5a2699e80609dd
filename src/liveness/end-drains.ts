import { lockAgents } from "../agents/agent-service.ts";
import { type CordonChange, findDrainedAgents, orderCordon } from "../agents/cordon-service.ts";
import { giveCommands } from "../commands/command-service.ts";
import type { Tx } from "../storage/database.ts";
import { type GiveBackSettings, giveBackTasks } from "../tasks/give-back.ts";
import type { TaskChange } from "../tasks/task-change.ts";

/** Agents of one transaction: small, so that no row is locked for long. */
const AGENTS_AT_ONCE = 20;

/** What one transaction ended of drains; to be told after the commit. */
export interface EndedDrains {
  drained: CordonChange[];
  changes: TaskChange[];
  more: boolean;
}

/**
 * Ends the drains of agents that hold nothing any more and of those whose deadline has passed: what these still hold goes
 * back, as nobody's failure, they are told to stop, and they are cordoned.
 */
export async function endDrains(tx: Tx, settings: GiveBackSettings): Promise<EndedDrains> {
  const found = await findDrainedAgents(tx, AGENTS_AT_ONCE);
  if (found.length === 0) return { drained: [], changes: [], more: false };
  // Under the lock: one may have been uncordoned since, or given more time.
  const states = await lockAgents(tx, found, { waiting: true });
  const due = (await findDrainedAgents(tx, AGENTS_AT_ONCE)).filter(({ agentId }) => states.has(agentId));
  const message = "its agent was drained";
  const changes = await giveBackTasks(
    tx,
    due,
    { kind: "returned", message, origin: { actor: "server" }, endedLeasesOnly: false },
    settings,
  );
  const commands = changes.flatMap(({ projectId, agentId, taskId }) =>
    agentId === undefined
      ? []
      : [{ projectId, agentId, kind: "cancelTask" as const, taskId, reason: message }],
  );
  await giveCommands(tx, commands);
  const origin = { actor: "server", reason: "drained" };
  const drained = await orderCordon(tx, due, { kind: "drained" }, origin);
  return { drained, changes, more: found.length === AGENTS_AT_ONCE && drained.length > 0 };
}
