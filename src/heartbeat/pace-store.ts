import { sql } from "drizzle-orm";
import type { Db } from "../storage/database.ts";

/** What a server is about to tell agents, at the most. */
export interface Announcement {
  serverId: string;
  longestMs: number;
  /** For how long it may go on telling so without another announcement. */
  validForMs: number;
  /** For how much longer an agent that was told so may be silent. */
  patienceMs: number;
}

/**
 * Announces the longest interval that a server tells agents, before it does; resolves to the longest that any server has
 * announced and some agent may still go by. What a server announced before counts until its own end.
 */
export async function announceInterval(db: Db, announcement: Announcement): Promise<number> {
  const { serverId, longestMs, validForMs, patienceMs } = announcement;
  await db.execute(sql`
    INSERT INTO dictated_intervals (server_id, interval_ms, counts_until)
    VALUES (${serverId}, ${longestMs}, clock_timestamp() + ${validForMs + patienceMs} * interval '1 ms')
    ON CONFLICT (server_id, interval_ms) DO UPDATE SET counts_until = excluded.counts_until`);
  await db.execute(
    sql`DELETE FROM dictated_intervals WHERE counts_until < clock_timestamp() - interval '1 minute'`,
  );
  return (await readLongestInterval(db)) ?? longestMs;
}

/** The longest interval that some agent may go by, in ms; undefined where none was announced. */
export async function readLongestInterval(db: Db): Promise<number | undefined> {
  const [row] = await db.execute<{ longest: number | null }>(sql`
    SELECT max(interval_ms) AS longest FROM dictated_intervals WHERE counts_until > clock_timestamp()`);
  return row?.longest ?? undefined;
}

/** How many agents send heartbeats. */
export async function countHeard(db: Db): Promise<number> {
  const [row] = await db.execute<{ heard: number }>(sql`
    SELECT count(*)::int AS heard FROM agent_states WHERE liveness IN ('live', 'stale')`);
  return row?.heard ?? 0;
}
