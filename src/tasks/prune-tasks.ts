import { sql } from "drizzle-orm";
import { type Db, inTransaction } from "../storage/database.ts";
import { forgetUnusedRequirementSets } from "./requirement-store.ts";

/**
 * Forgets tasks that ended so long ago, with their attempts and refused results: a batch, of which no project takes more
 * than its share. Resolves to the number forgotten.
 */
export async function forgetOldTasks(db: Db, olderThanMs: number, batchSize: number): Promise<number> {
  const age = sql`${String(olderThanMs)}::float8 * interval '1 ms'`;
  // What ended long ago was created longer ago: the index by age leads to it. What is at work or waits is passed over.
  const rows = await db.execute(sql`
    WITH old AS MATERIALIZED (
      SELECT ended.project_id, ended.id FROM projects p CROSS JOIN LATERAL (
        SELECT t.project_id, t.id FROM tasks t
        WHERE t.project_id = p.id AND t.created_at < clock_timestamp() - ${age}
          AND t.state IN ('succeeded', 'failed', 'cancelled', 'quarantined')
          AND t.finished_at < clock_timestamp() - ${age}
        ORDER BY t.created_at LIMIT ${batchSize} FOR UPDATE SKIP LOCKED) ended
      LIMIT ${batchSize}
    ), attempts AS (
      DELETE FROM task_attempts a USING old WHERE a.project_id = old.project_id AND a.task_id = old.id
    ), results AS (
      DELETE FROM task_stale_results r USING old WHERE r.project_id = old.project_id AND r.task_id = old.id
    )
    DELETE FROM tasks t USING old WHERE t.project_id = old.project_id AND t.id = old.id
    RETURNING 1`);
  return rows.length;
}

/** Forgets requirements that no waiting or lent task has any more, and failures of agents that are gone or long over. */
export async function forgetLeftovers(db: Db, batchSize: number): Promise<number> {
  const sets = await inTransaction(db, (tx) => forgetUnusedRequirementSets(tx, batchSize));
  const failures = await db.execute(sql`
    DELETE FROM agent_failures WHERE ctid = ANY (ARRAY(
      SELECT f.ctid FROM agent_failures f
      WHERE f.failed_at < clock_timestamp() - interval '30 days' OR NOT EXISTS (
        SELECT 1 FROM agent_states s WHERE s.project_id = f.project_id AND s.agent_id = f.agent_id)
      LIMIT ${batchSize} FOR UPDATE SKIP LOCKED))
    RETURNING 1`);
  return Math.max(sets, failures.length);
}
