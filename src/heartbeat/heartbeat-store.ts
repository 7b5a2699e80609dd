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

/**
 * Remembers runs that begin, of agents whose rows the transaction has locked and not written yet: when each was last
 * heard is the last word of the run before, and is kept here since no heartbeat writes a run's row.
 */
export async function insertSessions(tx: Tx, sessions: readonly NewSession[]): Promise<void> {
  if (sessions.length === 0) return;
  const heardBefore = ({ projectId, agentId }: NewSession) =>
    sql`(SELECT last_seen_at FROM agent_states WHERE project_id = ${projectId} AND agent_id = ${agentId})`;
  await tx
    .insert(agentSessions)
    .values(sessions.map((session) => ({ ...session, heardBeforeAt: heardBefore(session) })));
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

/** A process that was frozen for less is still known as one that another took over from. */
const SHORTEST_MEMORY_OF_RUNS_MS = 24 * 3_600_000;

/**
 * Forgets runs that others took over from so long ago, at most so many; resolves to how many. The newest run of an agent
 * stays, and a day's worth in any case: a run that is forgotten would count as a new one if it came back.
 */
export async function forgetOldSessions(db: Db, batchSize: number, retentionMs: number): Promise<number> {
  const ageMs = Math.max(retentionMs, SHORTEST_MEMORY_OF_RUNS_MS);
  const rows = await db.execute(sql`
    WITH longest AS MATERIALIZED (SELECT clock_timestamp() - ${ageMs}::float8 * interval '1 ms' AS ago)
    DELETE FROM agent_sessions WHERE ctid = ANY (ARRAY(
      SELECT r.ctid FROM agent_sessions r
      WHERE r.started_at < (SELECT ago FROM longest) AND EXISTS (
        SELECT 1 FROM agent_sessions n
        WHERE n.project_id = r.project_id AND n.agent_id = r.agent_id AND n.epoch > r.epoch
          AND n.started_at < (SELECT ago FROM longest))
      ORDER BY r.started_at LIMIT ${batchSize} FOR UPDATE OF r SKIP LOCKED))
    RETURNING 1`);
  return rows.length;
}

/** Numbers one more stream of an agent whose row the transaction has locked; the newest one is the one that counts. */
export async function countStream(
  tx: Tx,
  { projectId, agentId }: Pick<OpenSession, "projectId" | "agentId">,
): Promise<bigint> {
  const [row] = await tx.execute<{ stream: bigint }>(sql`
    UPDATE agent_states SET stream = stream + 1 WHERE project_id = ${projectId} AND agent_id = ${agentId}
    RETURNING stream`);
  if (row === undefined) throw new Error("the agent's row is locked, and gone");
  return row.stream;
}

/**
 * Numbers one more stream of a run that is its agent's newest already; undefined for any other run. One statement, since
 * all agents of a server come at once when they have lost it.
 */
export async function countStreamOfNewest(
  db: Db,
  { projectId, agentId, bootId }: AgentRun,
): Promise<{ epoch: bigint; stream: bigint } | undefined> {
  const [row] = await db.execute<{ epoch: bigint; stream: bigint }>(sql`
    UPDATE agent_states s SET stream = s.stream + 1 FROM agent_sessions r
    WHERE s.project_id = ${projectId} AND s.agent_id = ${agentId} AND r.project_id = s.project_id
      AND r.agent_id = s.agent_id AND r.boot_id = ${bootId} AND r.epoch = s.epoch
    RETURNING s.epoch, s.stream`);
  return row;
}

/** A session as a stream knows it; `epoch` was the agent's newest when it began. */
export interface OpenSession {
  projectId: string;
  agentId: string;
  epoch: bigint;
  /** The stream's number among those of its agent; undefined for one that carries commands alone, of which there may be several. */
  stream: bigint | undefined;
}

/** What has taken a session's place: the newest epoch of its agent, and the number of the newest stream. */
export interface Successor {
  agentId: string;
  epoch: bigint;
  stream: bigint;
}

/** Of those sessions whose agent has begun a newer one or opened a newer stream, what that is. */
export async function findSuccessors(db: Db, sessions: readonly OpenSession[]): Promise<Successor[]> {
  const rows = await db.execute<{ agent_id: string; epoch: bigint; stream: bigint }>(sql`
    SELECT s.agent_id, s.epoch, s.stream
    FROM unnest(
      ${sql.param(sessions.map(({ projectId }) => projectId))}::uuid[],
      ${sql.param(sessions.map(({ agentId }) => agentId))}::uuid[],
      ${sql.param(sessions.map(({ epoch }) => String(epoch)))}::bigint[],
      ${sql.param(sessions.map(({ stream }) => (stream === undefined ? null : String(stream))))}::bigint[]
    ) AS given(project_id, agent_id, epoch, stream)
    JOIN agent_states s USING (project_id, agent_id)
    WHERE s.epoch > given.epoch OR s.stream > given.stream`);
  return rows.map(({ agent_id, epoch, stream }) => ({ agentId: agent_id, epoch, stream }));
}
