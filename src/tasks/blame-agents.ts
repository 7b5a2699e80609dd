import { type CordonChange, orderCordon } from "../agents/cordon-service.ts";
import { formatId } from "../runtime/resource-id.ts";
import type { Tx } from "../storage/database.ts";
import { findBlamed } from "./attempt-store.ts";
import { MOST_FAILED_IN_A_ROW } from "./decide-task.ts";
import type { TaskChange } from "./task-change.ts";

/**
 * Cordons the agents that have failed too many different tasks in a row, now that these attempts have failed: what is
 * wrong is likely with the agent, and every task that it gets burns a retry. Their rows must be locked by the
 * transaction, before any task's. Resolves to what changed; to be told after the commit.
 */
export async function cordonBlamed(tx: Tx, failed: readonly TaskChange[]): Promise<CordonChange[]> {
  const newest = new Map<string, TaskChange>();
  for (const change of failed) if (change.agentId !== undefined) newest.set(change.agentId, change);
  const blamed = await findBlamed(
    tx,
    [...newest].map(([agentId, { projectId }]) => ({ projectId, agentId })),
    MOST_FAILED_IN_A_ROW,
  );
  const cordoned: CordonChange[] = [];
  for (const agent of blamed) {
    const last = newest.get(agent.agentId);
    const words =
      last === undefined ? "" : `; the last one was ${formatId("task", last.taskId)}: ${last.reason}`;
    const reason = `it failed ${agent.failures} different tasks in a row${words}`;
    cordoned.push(...(await orderCordon(tx, [agent], { kind: "cordon" }, { actor: "server", reason })));
  }
  return cordoned;
}
