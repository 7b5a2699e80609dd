import { sql } from "drizzle-orm";
import type { Db, Tx } from "../storage/database.ts";
import { agentSessions, heartbeatEffects } from "../storage/schema.ts";

/** A run of an agent's process; an agent comes once in a list of them. */
export interface AgentRun {
  projectId: string;
  agentId: string;
  bootId: string;
}

/** The epochs that boot_ids were given, by agent; a process that is new has none. */
export async function findSessionEpochs(tx: Tx, runs: readonly AgentRun[]): Promise<Map<string, bigint>> {
  if (runs.length === 0) return new Map();
  const rows = await tx
    .select({ agentId: agentSessions.agentId, epoch: agentSessions.epoch })
    .from(agentSessions)
    .where(sql`(${agentSessions.projectId}, ${agentSessions.agentId}, ${agentSessions.bootId}) IN (
      SELECT * FROM unnest(${sql.param(runs.map(({ projectId }) => projectId))}::uuid[],
        ${sql.param(runs.map(({ agentId }) => agentId))}::uuid[], ${sql.param(runs.map(({ bootId }) => bootId))}::text[]))`);
  return new Map(rows.map(({ agentId, epoch }) => [agentId, epoch]));
}

export interface NewSession extends AgentRun {
  epoch: bigint;
}

export async function insertSessions(tx: Tx, sessions: readonly NewSession[]): Promise<void> {
  if (sessions.length > 0) await tx.insert(agentSessions).values([...sessions]);
}

/** One heartbeat of one run of an agent's process. */
export interface HeartbeatKey {
  projectId: string;
  agentId: string;
  epoch: bigint;
  sequence: bigint;
}

/** What heartbeats did, by agent; an agent comes once, and is left out where its heartbeat did nothing. */
export async function findEffects(tx: Tx, keys: readonly HeartbeatKey[]): Promise<Map<string, unknown>> {
  if (keys.length === 0) return new Map();
  const rows = await tx
    .select({ agentId: heartbeatEffects.agentId, effect: heartbeatEffects.effect })
    .from(heartbeatEffects)
    .where(sql`(${heartbeatEffects.projectId}, ${heartbeatEffects.agentId}, ${heartbeatEffects.epoch},
        ${heartbeatEffects.sequence}) IN (
      SELECT * FROM unnest(${sql.param(keys.map(({ projectId }) => projectId))}::uuid[],
        ${sql.param(keys.map(({ agentId }) => agentId))}::uuid[], ${sql.param(keys.map(({ epoch }) => epoch))}::bigint[],
        ${sql.param(keys.map(({ sequence }) => sequence))}::bigint[]))`);
  return new Map(rows.map(({ agentId, effect }) => [agentId, effect]));
}

export async function insertEffects(
  tx: Tx,
  effects: readonly (HeartbeatKey & { effect: unknown })[],
): Promise<void> {
  if (effects.length > 0) await tx.insert(heartbeatEffects).values([...effects]);
}

/** Forgets what heartbeats did more than 24 hours ago, a batch at a time; resolves to the number forgotten. */
export async function forgetOldEffects(db: Db, batchSize: number): Promise<number> {
  const rows = await db.execute(sql`
    DELETE FROM heartbeat_effects WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM heartbeat_effects WHERE recorded_at < clock_timestamp() - interval '24 hours'
      LIMIT ${batchSize} FOR UPDATE SKIP LOCKED))
    RETURNING 1`);
  return rows.length;
}

/** A session as a stream knows it; `epoch` was the agent's newest when it began. */
export interface OpenSession {
  projectId: string;
  agentId: string;
  epoch: bigint;
}

/** The places in the list of those sessions whose agent has begun a newer one. */
export async function findSuperseded(db: Db, sessions: readonly OpenSession[]): Promise<number[]> {
  const rows = await db.execute<{ place: number }>(sql`
    SELECT (given.place - 1)::int AS place
    FROM unnest(
      ${sql.param(sessions.map(({ projectId }) => projectId))}::uuid[],
      ${sql.param(sessions.map(({ agentId }) => agentId))}::uuid[],
      ${sql.param(sessions.map(({ epoch }) => String(epoch)))}::bigint[]
    ) WITH ORDINALITY AS given(project_id, agent_id, epoch, place)
    JOIN agent_states USING (project_id, agent_id)
    WHERE agent_states.epoch > given.epoch`);
  return rows.map(({ place }) => place);
}
