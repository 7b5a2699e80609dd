import { sql } from "drizzle-orm";
import type { Db, Tx } from "../storage/database.ts";
import type { AgentKey } from "./agent-store.ts";
import type { CordonState } from "./decide-cordon.ts";

/** An agent's cordon under the agent's lock. */
export interface LockedCordon extends AgentKey {
  agent: string;
  cordon: CordonState;
  version: bigint;
  /** RFC 3339, for the audit log; undefined without a deadline. */
  deadline: string | undefined;
}

/** Locks agents in the order of ids; those that are gone are left out. */
export async function lockCordons(tx: Tx, keys: readonly AgentKey[]): Promise<LockedCordon[]> {
  const rows = await tx.execute<{
    project_id: string;
    agent_id: string;
    name: string;
    cordon: CordonState;
    version: bigint;
    deadline: string | null;
  }>(sql`
    SELECT s.project_id, s.agent_id, a.name, s.cordon, s.version, ${rfc3339} AS deadline
    FROM agent_states s JOIN agents a ON a.project_id = s.project_id AND a.id = s.agent_id
    WHERE (s.project_id, s.agent_id) IN (
      SELECT * FROM unnest(${sql.param(keys.map(({ projectId }) => projectId))}::uuid[],
        ${sql.param(keys.map(({ agentId }) => agentId))}::uuid[]))
    ORDER BY s.project_id, s.agent_id FOR UPDATE OF s`);
  return [...rows].map((row) => ({
    projectId: row.project_id,
    agentId: row.agent_id,
    agent: row.name,
    cordon: row.cordon,
    version: row.version,
    deadline: row.deadline ?? undefined,
  }));
}

/** What is written of a locked agent's cordon. */
export interface CordonWrite extends AgentKey {
  cordon: CordonState;
  /** Undefined: as it was. */
  reason: string | undefined;
  version: bigint;
  /** From now on; undefined: no deadline. */
  withinMs: number | undefined;
}

/** Writes cordons whose agents the transaction has locked; resolves to the deadlines that were set, by agent. */
export async function writeCordons(tx: Tx, writes: readonly CordonWrite[]): Promise<Map<string, string>> {
  const input = writes.map(({ projectId, agentId, cordon, reason, version, withinMs }) => ({
    project_id: projectId,
    agent_id: agentId,
    cordon,
    reason,
    version: String(version),
    within_ms: withinMs ?? null,
  }));
  const rows = await tx.execute<{ agent_id: string; deadline: string | null }>(sql`
    UPDATE agent_states s
    SET cordon = i.cordon, cordon_reason = coalesce(i.reason, s.cordon_reason), version = i.version,
      drain_deadline_at = clock_timestamp() + i.within_ms * interval '1 ms'
    FROM jsonb_to_recordset(${JSON.stringify(input)}::jsonb) AS i(project_id uuid, agent_id uuid, cordon text,
      reason text, version bigint, within_ms float8)
    WHERE s.project_id = i.project_id AND s.agent_id = i.agent_id
    RETURNING s.agent_id, ${rfc3339} AS deadline`);
  const freed = writes.filter(({ cordon }) => cordon === "none");
  // What an agent failed before is forgiven: the count to its next cordon begins anew.
  if (freed.length > 0)
    await tx.execute(sql`
      DELETE FROM agent_failures WHERE (project_id, agent_id) IN (
        SELECT * FROM unnest(${sql.param(freed.map(({ projectId }) => projectId))}::uuid[],
          ${sql.param(freed.map(({ agentId }) => agentId))}::uuid[]))`);
  return new Map(
    [...rows].flatMap(({ agent_id, deadline }) => (deadline === null ? [] : [[agent_id, deadline]])),
  );
}

const rfc3339 = sql.raw(`to_char(s.drain_deadline_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`);

/** Those of the agents that are neither cordoned nor draining, by their ids. */
export async function findUncordoned(db: Db, agents: readonly AgentKey[]): Promise<Set<string>> {
  const rows = await db.execute<{ agent_id: string }>(sql`
    SELECT agent_id FROM agent_states JOIN unnest(${sql.param(agents.map(({ projectId }) => projectId))}::uuid[],
      ${sql.param(agents.map(({ agentId }) => agentId))}::uuid[]) AS k(project_id, agent_id) USING (project_id, agent_id)
    WHERE cordon = 'none'`);
  return new Set([...rows].map((row) => row.agent_id));
}

/** Draining agents that hold nothing any more, or whose deadline has passed; up to so many, none of them locked. */
export async function findDrained(tx: Tx, limit: number): Promise<AgentKey[]> {
  const rows = await tx.execute<{ project_id: string; agent_id: string }>(sql`
    SELECT s.project_id, s.agent_id FROM agent_states s
    WHERE s.cordon = 'draining' AND (s.drain_deadline_at <= (SELECT clock_timestamp()) OR NOT EXISTS (
      SELECT 1 FROM tasks t
      WHERE t.project_id = s.project_id AND t.agent_id = s.agent_id AND t.state IN ('leased', 'running')))
    LIMIT ${limit}`);
  return [...rows].map((row) => ({ projectId: row.project_id, agentId: row.agent_id }));
}

/** Moves the deadline of every drain by so many ms. */
export async function moveDrainDeadlines(tx: Tx, byMs: number): Promise<void> {
  await tx.execute(sql`
    UPDATE agent_states SET drain_deadline_at = drain_deadline_at + ${byMs} * interval '1 ms'
    WHERE cordon = 'draining' AND drain_deadline_at IS NOT NULL`);
}
