import { sql } from "drizzle-orm";
import type { Db, Tx } from "../storage/database.ts";

/** What a project has that waits or is at work. */
export interface TaskUsage {
  readonly pending: number;
  /** Of payloads of tasks that have not ended. */
  readonly payloadBytes: number;
}

/** What every project has waiting and at work, by its id; a project without tasks is left out. */
export async function readTaskUsage(tx: Tx): Promise<Map<string, TaskUsage>> {
  // Two branches, each with the predicate of a partial index.
  const rows = await tx.execute<{ project_id: string; pending: string; bytes: string }>(sql`
    SELECT project_id, sum(pending)::text AS pending, sum(bytes)::text AS bytes FROM (
      SELECT project_id, count(*) AS pending, sum(payload_bytes) AS bytes FROM tasks
      WHERE state = 'pending' GROUP BY project_id
      UNION ALL
      SELECT project_id, 0, sum(payload_bytes) FROM tasks
      WHERE state IN ('leased', 'running') GROUP BY project_id) parts
    GROUP BY project_id`);
  return new Map(
    rows.map((row) => [row.project_id, { pending: Number(row.pending), payloadBytes: Number(row.bytes) }]),
  );
}

/** Rows of errors by project, and by agent for those that have at least `worthKnowing`. */
export async function readErrorUsage(tx: Db | Tx, worthKnowing: number): Promise<Map<string, number>> {
  const rows = await tx.execute<{ id: string; count: string }>(sql`
    WITH by_agent AS (
      SELECT project_id, agent_id, count(*) AS count FROM error_reports GROUP BY project_id, agent_id)
    SELECT project_id AS id, sum(count)::text AS count FROM by_agent GROUP BY project_id
    UNION ALL
    SELECT agent_id, count::text FROM by_agent WHERE count >= ${worthKnowing}`);
  return new Map(rows.map(({ id, count }) => [id, Number(count)]));
}

/** Forgets an agent's oldest errors, for each of several agents as many as it says. */
export async function forgetOldestErrors(
  tx: Tx,
  surplus: readonly { projectId: string; agentId: string; rows: number }[],
): Promise<void> {
  if (surplus.length === 0) return;
  const input = surplus.map(({ projectId, agentId, rows }) => ({
    project_id: projectId,
    agent_id: agentId,
    count: rows,
  }));
  await tx.execute(sql`
    DELETE FROM error_reports e USING (
      SELECT old.project_id, old.id
      FROM jsonb_to_recordset(${JSON.stringify(input)}::jsonb) AS s(project_id uuid, agent_id uuid, count int)
      CROSS JOIN LATERAL (
        SELECT project_id, id FROM error_reports
        WHERE project_id = s.project_id AND agent_id = s.agent_id
        ORDER BY created_at, id LIMIT s.count) old) oldest
    WHERE e.project_id = oldest.project_id AND e.id = oldest.id`);
}
