import { sql } from "drizzle-orm";
import { type Db, inTransaction } from "../storage/database.ts";

/** Removes audit entries that are older than that, the oldest of a project first, at most so many; resolves to how many. */
export async function pruneAudit(db: Db, batchSize: number, retentionMs: number): Promise<number> {
  return await inTransaction(db, async (tx) => {
    // The trigger that keeps the log append-only lets whoever says so delete, until the transaction ends.
    await tx.execute(sql`SET LOCAL drover.pruning = 'audit'`);
    // Project by project, since times are indexed within a project.
    const [row] = await tx.execute<{ count: number }>(sql`
      WITH old AS (
        SELECT e.project_id, e.id FROM projects p CROSS JOIN LATERAL (
          SELECT a.project_id, a.id FROM audit_entries a
          WHERE a.project_id = p.id
            AND a.time < (SELECT clock_timestamp() - ${retentionMs}::float8 * interval '1 ms')
          ORDER BY a.time, a.id LIMIT ${batchSize}
        ) e
        LIMIT ${batchSize}
      ), gone AS (
        DELETE FROM audit_entries a USING old WHERE a.project_id = old.project_id AND a.id = old.id RETURNING 1
      )
      SELECT count(*)::int AS count FROM gone`);
    return row?.count ?? 0;
  });
}
