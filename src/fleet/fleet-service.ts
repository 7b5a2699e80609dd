import { forgetAgent, lockAgent, requireAgent, saveAgentState } from "../agents/agent-service.ts";
import { appendAudit } from "../audit/audit-log.ts";
import { agentChanged } from "../events/event.ts";
import { appendEvents } from "../events/outbox.ts";
import type { Caller } from "../identity/caller.ts";
import { formatId } from "../runtime/resource-id.ts";
import type { Tx } from "../storage/database.ts";
import type { HeldTasks } from "../tasks/held-tasks.ts";
import type { TaskChange } from "../tasks/task-change.ts";
import { revokeAgentTokens } from "../tokens/token-service.ts";

/** A change of status that an operator made. */
export interface OperatorTransition {
  agentId: string;
  agent: string;
  from: "error";
  to: "online";
  reason: string;
}

/** Takes an agent from error to online; resolves to undefined, and changes nothing, where it was not in error. */
export async function resetAgent(
  tx: Tx,
  caller: Caller,
  name: string,
  requestId: string,
): Promise<OperatorTransition | undefined> {
  const { projectId, actor } = caller;
  const { id: agentId } = await requireAgent(tx, projectId, name);
  const state = await lockAgent(tx, projectId, agentId);
  if (state.status !== "error") return undefined;
  const version = state.version + 1n;
  const transition = {
    agentId,
    agent: name,
    from: "error",
    to: "online",
    reason: "reset by an operator",
  } as const;
  await saveAgentState(
    tx,
    projectId,
    { ...state, status: "online", version },
    { seen: false, statusChanged: true },
  );
  const { from, to, reason } = transition;
  const change = { field: "status", from, to, version, reason, requestId };
  await appendAudit(tx, [
    { projectId, actor, action: "agent.status_changed", subject: formatId("agent", agentId), ...change },
  ]);
  await appendEvents(tx, [
    agentChanged({ projectId, agentId, type: "agent.status_changed", from, to, reason, actor }),
  ]);
  return transition;
}

/** What an agent's removal did: to be told after the commit. */
export interface Removal {
  /** Ids of the tokens that ended. */
  revoked: string[];
  changes: TaskChange[];
}

/** Removes an agent, revokes its tokens and takes its tasks back, in one transaction. */
export async function removeAgent(
  tx: Tx,
  caller: Caller,
  name: string,
  requestId: string,
  tasks: Pick<HeldTasks, "giveBack">,
): Promise<Removal> {
  const { projectId, actor } = caller;
  const { id: agentId } = await requireAgent(tx, projectId, name);
  await lockAgent(tx, projectId, agentId);
  const reason = "removed by an operator";
  const revoked = await revokeAgentTokens(tx, projectId, agentId, { actor, requestId, reason });
  const changes = await tasks.giveBack(tx, [{ projectId, agentId }], {
    kind: "returned",
    message: "its agent was removed",
    origin: { actor, requestId },
    endedLeasesOnly: false,
  });
  await forgetAgent(tx, projectId, agentId);
  const subject = formatId("agent", agentId);
  await appendAudit(tx, [
    { projectId, actor, action: "agent.removed", subject, from: name, reason, requestId },
  ]);
  await appendEvents(tx, [{ projectId, type: "agent.removed", subject, agentId, data: { actor, reason } }]);
  return { revoked, changes };
}
