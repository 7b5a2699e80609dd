import { sql } from "drizzle-orm";
import type { Db } from "../storage/database.ts";

/**
 * Removes events that are older than that, at most so many; resolves to how many. Only a numbered prefix of each stream
 * goes, and the stream's row keeps where it ends: a cursor before that place is refused, also when no event is left.
 */
export async function pruneEvents(db: Db, batchSize: number, retentionMs: number): Promise<number> {
  let removed = 0;
  while (removed < batchSize) {
    const count = await pruneOneStream(db, batchSize - removed, retentionMs);
    if (count === 0) break;
    removed += count;
  }
  return removed;
}

async function pruneOneStream(db: Db, limit: number, retentionMs: number): Promise<number> {
  // Places and rows go in one statement: whoever reads both sees them agree.
  const [row] = await db.execute<{ count: number }>(sql`
    WITH clock AS MATERIALIZED (
      SELECT clock_timestamp() - ${retentionMs}::float8 * interval '1 ms' AS cutoff
    ), stream AS MATERIALIZED (
      SELECT s.project_id, s.pruned_seq FROM event_streams s, clock
      WHERE s.pruned_seq < s.last_seq AND EXISTS (
        SELECT 1 FROM events e
        WHERE e.project_id = s.project_id AND e.seq = s.pruned_seq + 1 AND e.time < clock.cutoff)
      LIMIT 1 FOR UPDATE OF s
    ), candidates AS MATERIALIZED (
      SELECT e.project_id, e.id, e.seq, e.time FROM stream CROSS JOIN LATERAL (
        SELECT n.project_id, n.id, n.seq, n.time FROM events n
        WHERE n.project_id = stream.project_id AND n.seq > stream.pruned_seq ORDER BY n.seq LIMIT ${limit}
      ) e
    ), old AS MATERIALIZED (
      -- Times are not in the order of numbers: the prefix ends before the first one that is to stay.
      SELECT project_id, id, seq FROM candidates
      WHERE seq < coalesce(
        (SELECT min(c.seq) FROM candidates c, clock WHERE c.time >= clock.cutoff), ${"9223372036854775807"}::bigint)
    ), moved AS (
      UPDATE event_streams s SET pruned_seq = (SELECT max(seq) FROM old)
      FROM stream WHERE s.project_id = stream.project_id AND EXISTS (SELECT 1 FROM old)
    ), gone AS (
      DELETE FROM events e USING old WHERE e.project_id = old.project_id AND e.id = old.id RETURNING 1
    )
    SELECT count(*)::int AS count FROM gone`);
  return row?.count ?? 0;
}
