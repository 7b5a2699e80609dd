import { type AuditChange, appendAudit } from "../audit/audit-log.ts";
import type { Command } from "../commands/command.ts";
import { giveCommands } from "../commands/command-service.ts";
import { type EventDraft, type EventType, shortText } from "../events/event.ts";
import { appendEvents } from "../events/outbox.ts";
import { formatId } from "../runtime/resource-id.ts";
import type { Tx } from "../storage/database.ts";
import type { AgentKey } from "./agent-store.ts";
import {
  type CordonWrite,
  findDrained,
  type LockedCordon,
  lockCordons,
  moveDrainDeadlines,
  writeCordons,
} from "./cordon-store.ts";
import { type CordonOrder, type CordonState, decideCordon } from "./decide-cordon.ts";

/** Who gives an order, and why. */
export interface CordonOrigin {
  /** `agent:NAME`, `token:ID` or `server`. */
  actor: string;
  reason: string;
  requestId?: string;
}

/** What an order changed: an agent's cordon, or the deadline of a drain. */
export interface CordonChange extends AgentKey {
  agent: string;
  from: CordonState;
  to: CordonState;
}

/**
 * Gives agents an order on their cordon, all in the same few statements: locks them in the order of ids, writes what
 * changes, tells the agents by commands, and appends audit entries and events. Agents of which it is true already, and
 * those that are gone, are left alone. Resolves to what changed; to be told after the commit.
 */
export async function orderCordon(
  tx: Tx,
  agents: readonly AgentKey[],
  order: CordonOrder,
  origin: CordonOrigin,
): Promise<CordonChange[]> {
  if (agents.length === 0) return [];
  const changes: (LockedCordon & { to: CordonState })[] = [];
  for (const agent of await lockCordons(tx, agents)) {
    const decision = decideCordon(agent.cordon, order);
    if (decision.kind === "none") continue;
    changes.push({ ...agent, to: decision.kind === "change" ? decision.to : agent.cordon });
  }
  if (changes.length === 0) return [];
  const deadlines = await writeCordons(
    tx,
    changes.map((change) => writeOf(change, order, origin)),
  );
  const command = commandOf(order, origin);
  if (command !== undefined)
    await giveCommands(
      tx,
      changes.map(({ projectId, agentId }) => ({ projectId, agentId, ...command })),
    );
  await appendAudit(
    tx,
    changes.map((change) => auditOf(change, deadlines.get(change.agentId), origin)),
  );
  await appendEvents(
    tx,
    changes.map((change) => eventOf(change, deadlines.get(change.agentId), origin)),
  );
  return changes.map(({ projectId, agentId, agent, cordon: from, to }) => ({
    projectId,
    agentId,
    agent,
    from,
    to,
  }));
}

/** Draining agents that hold nothing any more, or whose deadline has passed; up to so many, none of them locked. */
export async function findDrainedAgents(tx: Tx, limit: number): Promise<AgentKey[]> {
  return await findDrained(tx, limit);
}

type Change = LockedCordon & { to: CordonState };

function writeOf(change: Change, order: CordonOrder, { reason }: CordonOrigin): CordonWrite {
  const { projectId, agentId, cordon, to } = change;
  return {
    projectId,
    agentId,
    cordon: to,
    // A drain that has come to its end leaves the agent cordoned for what it was drained for.
    reason: to === "none" ? "" : order.kind === "drained" ? undefined : reason,
    // A new deadline alone is no change of the cordon.
    version: change.version + (to === cordon ? 0n : 1n),
    withinMs: order.kind === "drain" ? order.withinMs : undefined,
  };
}

/** What the agent is told; the end of its drain shows by the tasks that it loses. */
function commandOf(order: CordonOrder, { reason }: CordonOrigin): Command | undefined {
  if (order.kind === "drained") return undefined;
  const withinMs = order.kind === "drain" ? order.withinMs : undefined;
  return { kind: order.kind, taskId: undefined, reason, ...(withinMs !== undefined && { withinMs }) };
}

const types = {
  none: "agent.uncordoned",
  draining: "agent.draining",
  cordoned: "agent.cordoned",
} satisfies Record<CordonState, EventType>;

function auditOf(
  { projectId, agentId, cordon: from, to, version, deadline: before }: Change,
  deadline: string | undefined,
  { actor, reason, requestId }: CordonOrigin,
): AuditChange {
  const subject = formatId("agent", agentId);
  const common = { projectId, actor, subject, reason, ...(requestId !== undefined && { requestId }) };
  // The deadline is no field with versions: each entry of a field goes on where the one before ended.
  if (from === to)
    return { ...common, action: "agent.drain_deadline_changed", from: before ?? "", to: deadline ?? "" };
  return { ...common, action: types[to], field: "cordon", from, to, version: version + 1n };
}

function eventOf(
  { projectId, agentId, cordon: from, to }: Change,
  deadline: string | undefined,
  { actor, reason }: CordonOrigin,
): EventDraft {
  const data = { from, to, reason: shortText(reason), actor, ...(deadline !== undefined && { deadline }) };
  return { projectId, type: types[to], subject: formatId("agent", agentId), agentId, data };
}

/** Gives agents that drain as much longer as nobody could hear that they are done, in ms. */
export async function extendDrains(tx: Tx, byMs: number): Promise<void> {
  await moveDrainDeadlines(tx, byMs);
}
