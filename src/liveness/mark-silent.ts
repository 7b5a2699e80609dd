import { type AuditChange, appendAudit } from "../audit/audit-log.ts";
import { type AgentChange, agentChanged } from "../events/event.ts";
import { appendEvents } from "../events/outbox.ts";
import { formatId } from "../runtime/resource-id.ts";
import type { Tx } from "../storage/database.ts";
import { decideLiveness, type Watch } from "./decide-liveness.ts";
import {
  type AgentKey,
  type LivenessChange,
  type LockedAgent,
  lockWatched,
  writeLiveness,
} from "./liveness-store.ts";
import { noteLosses } from "./note-flaps.ts";
import type { LivenessThresholds } from "./thresholds.ts";

/** A committed loss of an agent, for those who are told of it. */
export interface CommittedLoss extends AgentKey {
  project: string;
  agent: string;
  from: "live";
  to: "offline";
  reason: string;
}

interface Loss extends CommittedLoss {
  version: bigint;
}

/**
 * Marks those of the agents stale or offline that are silent for too long; one that someone else has locked, such as a
 * heartbeat, is left alone. Resolves to the losses, to be told after the commit.
 */
export async function markSilent(
  tx: Tx,
  keys: AgentKey[],
  watch: Watch,
  thresholds: LivenessThresholds,
): Promise<CommittedLoss[]> {
  const changes: LivenessChange[] = [];
  const losses: Loss[] = [];
  const told: AgentChange[] = [];
  for (const agent of await lockWatched(tx, keys)) {
    const decision = decideLiveness(agent, watch, thresholds);
    if (decision.kind === "keep") continue;
    const loss = decision.kind === "offline" ? lossOf(agent, decision.silentMs) : undefined;
    if (loss !== undefined) losses.push(loss);
    const { projectId, agentId, version } = agent;
    changes.push({ projectId, agentId, liveness: decision.kind, version: loss?.version ?? version });
    const reason = loss?.reason ?? silence(decision.silentMs);
    const change = { from: agent.liveness, to: decision.kind, reason, actor: "server" };
    told.push({ projectId, agentId, type: "agent.liveness_changed", ...change });
  }
  if (changes.length > 0) await writeLiveness(tx, changes);
  await appendAudit(tx, losses.map(auditOf));
  await appendEvents(tx, told.map(agentChanged));
  await noteLosses(tx, losses, watch.nowMs);
  return losses;
}

function lossOf({ projectId, agentId, project, agent, version }: LockedAgent, silentMs: number): Loss {
  const reason = silence(silentMs);
  // A stale agent counts as live: the audit log tells of losses and returns, not of every late heartbeat.
  return {
    projectId,
    agentId,
    project,
    agent,
    from: "live",
    to: "offline",
    reason,
    version: version + 1n,
  };
}

function silence(silentMs: number): string {
  return `not heard for ${Math.floor(silentMs / 1000)}s`;
}

function auditOf({ projectId, agentId, from, to, reason, version }: Loss): AuditChange {
  const change = { field: "liveness", from, to, version, reason };
  const subject = formatId("agent", agentId);
  return { projectId, actor: "server", action: "agent.liveness_changed", subject, ...change };
}
