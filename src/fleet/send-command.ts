import { lockAgent, requireAgent } from "../agents/agent-service.ts";
import { appendAudit } from "../audit/audit-log.ts";
import type { AgentCommand, SendableKind } from "../commands/command.ts";
import { giveCommand } from "../commands/command-service.ts";
import type { Caller } from "../identity/caller.ts";
import { formatId } from "../runtime/resource-id.ts";
import type { Tx } from "../storage/database.ts";

/** What an operator wants an agent to do. */
export interface CommandWish {
  /** The agent's name. */
  agent: string;
  kind: SendableKind;
  reason: string;
  requestId: string;
}

/** Gives an agent a command, and notes who did. Throws NOT_FOUND. */
export async function sendCommand(
  tx: Tx,
  caller: Caller,
  { agent, kind, reason, requestId }: CommandWish,
): Promise<{ agentId: string; command: AgentCommand }> {
  const { projectId, actor } = caller;
  const { id: agentId } = await requireAgent(tx, projectId, agent);
  await lockAgent(tx, projectId, agentId);
  const command = { kind, taskId: undefined, reason };
  const sequence = await giveCommand(tx, { projectId, agentId }, command);
  if (sequence === undefined) throw new Error("an agent vanished under its lock");
  const subject = formatId("agent", agentId);
  // A command is no state of the agent: it has neither a field nor a version.
  await appendAudit(tx, [
    { projectId, actor, action: "agent.command_sent", subject, to: kind, reason, requestId },
  ]);
  return { agentId, command: { ...command, sequence } };
}
