import { sql } from "drizzle-orm";
import type { Liveness } from "../agents/agent.ts";
import type { Db, Tx } from "../storage/database.ts";
import type { WatchedAgent } from "./decide-liveness.ts";

/** The watch before this moment, in ms by the database's clock. */
export interface KeptWatch {
  nowMs: number;
  sinceMs: number;
  /** For how long nobody has kept it. */
  unkeptMs: number;
}

/** Locks the watch: whoever decides by it does so alone. Undefined where it was never kept. */
export async function lockWatch(tx: Tx): Promise<KeptWatch | undefined> {
  // Read after the lock, in a statement of its own: while one waits for the lock, the clock goes on.
  const locked = await tx.execute(sql`SELECT 1 FROM liveness_watch FOR UPDATE`);
  if (locked.length === 0) return undefined;
  const [row] = await tx.execute<{ now_ms: number; since_ms: number; kept_ms: number }>(sql`
    SELECT ${epochMs("clock_timestamp()")} AS now_ms, ${epochMs("since")} AS since_ms, ${epochMs("kept_at")} AS kept_ms
    FROM liveness_watch`);
  return row && { nowMs: row.now_ms, sinceMs: row.since_ms, unkeptMs: row.now_ms - row.kept_ms };
}

/** Notes that the watch is kept now; `anew`: there was a break. */
export async function noteWatch(tx: Tx, anew: boolean): Promise<void> {
  await tx.execute(sql`
    INSERT INTO liveness_watch (only_row) VALUES (true)
    ON CONFLICT (only_row) DO UPDATE SET kept_at = excluded.kept_at,
      since = CASE WHEN ${anew}::boolean THEN excluded.since ELSE liveness_watch.since END`);
}

export interface AgentKey {
  projectId: string;
  agentId: string;
}

/** How long agents may be silent before something becomes of them, in ms; the first is the shorter one. */
export interface Patience {
  staleAfterMs: number;
  offlineAfterMs: number;
}

/**
 * Agents of whom something may become, up to so many, none of them locked. It reads the whole narrow table: an index by
 * which they could be found would have to be written by every heartbeat.
 */
export async function findSilent(
  db: Db,
  { staleAfterMs, offlineAfterMs }: Patience,
  limit: number,
): Promise<AgentKey[]> {
  // The clock as a subquery is asked once, where a bare call is asked for every row. The first condition is false for
  // nearly every row and decides alone then.
  const rows = await db.execute<{ project_id: string; agent_id: string }>(sql`
    SELECT project_id, agent_id FROM agent_states
    WHERE last_seen_at <= (SELECT clock_timestamp() - ${staleAfterMs} * interval '1 ms')
      AND (liveness = 'live' OR (liveness = 'stale'
        AND last_seen_at <= (SELECT clock_timestamp() - ${offlineAfterMs} * interval '1 ms')))
    LIMIT ${limit}`);
  return [...rows].map((row) => ({ projectId: row.project_id, agentId: row.agent_id }));
}

/** A live or stale agent under its lock. */
export type LockedAgent = AgentKey &
  Extract<WatchedAgent, { liveness: "live" | "stale" }> & {
    agent: string;
    project: string;
    version: bigint;
  };

/** Locks those of the agents that are live or stale, in the order of ids; one that someone else has locked is left out. */
export async function lockWatched(tx: Tx, keys: AgentKey[]): Promise<LockedAgent[]> {
  const rows = await tx.execute<{
    project_id: string;
    agent_id: string;
    project: string;
    agent: string;
    liveness: "live" | "stale";
    version: bigint;
    last_seen_ms: number;
  }>(sql`
    SELECT s.project_id, s.agent_id, p.name AS project, a.name AS agent, s.liveness, s.version,
      ${epochMs("s.last_seen_at")} AS last_seen_ms
    FROM ${keysOf(keys)}
    JOIN agent_states s ON s.project_id = k.project_id AND s.agent_id = k.agent_id
    JOIN agents a ON a.project_id = s.project_id AND a.id = s.agent_id
    JOIN projects p ON p.id = s.project_id
    WHERE s.liveness IN ('live', 'stale')
    ORDER BY s.project_id, s.agent_id FOR UPDATE OF s SKIP LOCKED`);
  return [...rows].map((row) => ({
    projectId: row.project_id,
    agentId: row.agent_id,
    project: row.project,
    agent: row.agent,
    liveness: row.liveness,
    version: row.version,
    lastSeenMs: row.last_seen_ms,
  }));
}

/** Locks those of the agents that are offline; one that someone else has locked is left out. */
export async function lockOffline(tx: Tx, keys: AgentKey[]): Promise<AgentKey[]> {
  const rows = await tx.execute<{ project_id: string; agent_id: string }>(sql`
    SELECT s.project_id, s.agent_id
    FROM ${keysOf(keys)}
    JOIN agent_states s ON s.project_id = k.project_id AND s.agent_id = k.agent_id
    WHERE s.liveness = 'offline'
    ORDER BY s.project_id, s.agent_id FOR UPDATE OF s SKIP LOCKED`);
  return [...rows].map((row) => ({ projectId: row.project_id, agentId: row.agent_id }));
}

export interface LivenessChange extends AgentKey {
  liveness: Liveness;
  version: bigint;
}

/** Writes what became of agents that the transaction has locked. */
export async function writeLiveness(tx: Tx, changes: LivenessChange[]): Promise<void> {
  const input = changes.map(({ projectId, agentId, liveness, version }) => ({
    project_id: projectId,
    agent_id: agentId,
    liveness,
    version: String(version),
  }));
  await tx.execute(sql`
    UPDATE agent_states s SET liveness = i.liveness, version = i.version,
      lost_at = CASE WHEN i.liveness = 'offline' THEN clock_timestamp() ELSE s.lost_at END
    FROM jsonb_to_recordset(${JSON.stringify(input)}::jsonb)
      AS i(project_id uuid, agent_id uuid, liveness text, version bigint)
    WHERE s.project_id = i.project_id AND s.agent_id = i.agent_id`);
}

function keysOf(keys: AgentKey[]) {
  const input = keys.map(({ projectId, agentId }) => ({ project_id: projectId, agent_id: agentId }));
  return sql`jsonb_to_recordset(${JSON.stringify(input)}::jsonb) AS k(project_id uuid, agent_id uuid)`;
}

/** A moment as ms, to the microsecond; `expression` is ours, no caller's. */
function epochMs(expression: string) {
  return sql.raw(`(extract(epoch FROM ${expression}) * 1000)::float8`);
}
