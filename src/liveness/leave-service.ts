import { lockAgent, saveAgentState } from "../agents/agent-service.ts";
import { appendAudit } from "../audit/audit-log.ts";
import { agentChanged } from "../events/event.ts";
import { appendEvents } from "../events/outbox.ts";
import type { AgentCaller } from "../identity/caller.ts";
import { formatId } from "../runtime/resource-id.ts";
import type { Tx } from "../storage/database.ts";
import type { HeldTasks } from "../tasks/held-tasks.ts";
import type { TaskChange } from "../tasks/task-change.ts";

/** What an agent's leaving did: to be told after the commit. */
export interface Departure {
  /** Undefined where it was offline already. */
  change: { from: "never" | "live"; to: "offline"; reason: string } | undefined;
  /** Of the tasks that it held. */
  taskChanges: TaskChange[];
}

/**
 * Ends an agent's session: what it holds returns at once, as nobody's failure, and it is offline until it is heard
 * again.
 */
export async function leave(
  tx: Tx,
  caller: AgentCaller,
  requestId: string,
  tasks: Pick<HeldTasks, "giveBack">,
): Promise<Departure> {
  const { projectId, agentId, actor } = caller;
  const state = await lockAgent(tx, projectId, agentId);
  const taskChanges = await tasks.giveBack(tx, [{ projectId, agentId }], {
    kind: "returned",
    message: "its agent left",
    origin: { actor, requestId },
    endedLeasesOnly: false,
  });
  if (state.liveness === "offline") return { change: undefined, taskChanges };
  const change = {
    from: state.liveness === "never" ? "never" : "live",
    to: "offline",
    reason: "left",
  } as const;
  const version = state.version + 1n;
  await saveAgentState(
    tx,
    projectId,
    { ...state, liveness: "offline", version, currentTaskId: null, currentLeaseEpoch: null },
    { seen: false, statusChanged: false },
  );
  const subject = formatId("agent", agentId);
  await appendAudit(tx, [
    {
      projectId,
      actor,
      action: "agent.liveness_changed",
      subject,
      field: "liveness",
      ...change,
      version,
      requestId,
    },
  ]);
  const type = "agent.liveness_changed";
  // What a screen showed before: a stale agent counts as live in the audit log alone.
  const event = {
    projectId,
    agentId,
    type,
    from: state.liveness,
    to: "offline",
    reason: "left",
    actor,
  } as const;
  await appendEvents(tx, [agentChanged(event)]);
  return { change, taskChanges };
}
