import { type SQL, sql } from "drizzle-orm";
import type { Tx } from "../storage/database.ts";
import type { FlapRecord } from "./decide-flapping.ts";
import type { AgentKey } from "./liveness-store.ts";

export type StoredFlaps = AgentKey & FlapRecord;

/** Records of these agents, where there are any. */
export async function readFlaps(tx: Tx, keys: readonly AgentKey[]): Promise<StoredFlaps[]> {
  return await select(
    tx,
    sql`agent_id = ANY (${sql.param(keys.map(({ agentId }) => agentId))}::uuid[])`,
    keys.length,
  );
}

/** Up to so many records that time may have changed: flapping for so many ms since the last loss, others for longer. */
export async function findFadedFlaps(
  tx: Tx,
  { restMs, forgetMs }: { restMs: number; forgetMs: number },
  limit: number,
): Promise<StoredFlaps[]> {
  const ago = (ms: number) => sql`(SELECT clock_timestamp() - ${ms} * interval '1 ms')`;
  return await select(
    tx,
    sql`scored_at <= ${ago(restMs)} AND (flapping OR scored_at <= ${ago(forgetMs)})`,
    limit,
  );
}

async function select(tx: Tx, meant: SQL, limit: number): Promise<StoredFlaps[]> {
  const rows = await tx.execute<{
    project_id: string;
    agent_id: string;
    score: number;
    scored_ms: number;
    flapping: boolean;
  }>(sql`
    SELECT project_id, agent_id, score, (extract(epoch FROM scored_at) * 1000)::float8 AS scored_ms, flapping
    FROM agent_flaps WHERE ${meant} ORDER BY scored_at LIMIT ${limit}`);
  return [...rows].map(({ project_id, agent_id, score, scored_ms, flapping }) => ({
    projectId: project_id,
    agentId: agent_id,
    score,
    scoredMs: scored_ms,
    flapping,
  }));
}

export async function writeFlaps(tx: Tx, records: readonly StoredFlaps[]): Promise<void> {
  if (records.length === 0) return;
  const input = records.map(({ projectId, agentId, score, scoredMs, flapping }) => ({
    project_id: projectId,
    agent_id: agentId,
    score,
    scored_ms: scoredMs,
    flapping,
  }));
  await tx.execute(sql`
    INSERT INTO agent_flaps (project_id, agent_id, score, scored_at, flapping)
    SELECT project_id, agent_id, score, to_timestamp(scored_ms / 1000), flapping
    FROM jsonb_to_recordset(${JSON.stringify(input)}::jsonb)
      AS i(project_id uuid, agent_id uuid, score float8, scored_ms float8, flapping boolean)
    ON CONFLICT (project_id, agent_id) DO UPDATE
    SET score = excluded.score, scored_at = excluded.scored_at, flapping = excluded.flapping`);
}

export async function forgetFlaps(tx: Tx, keys: readonly AgentKey[]): Promise<void> {
  if (keys.length === 0) return;
  await tx.execute(sql`
    DELETE FROM agent_flaps WHERE agent_id = ANY (${sql.param(keys.map(({ agentId }) => agentId))}::uuid[])`);
}
