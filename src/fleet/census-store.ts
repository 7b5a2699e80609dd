import { type SQL, sql } from "drizzle-orm";
import type { Db } from "../storage/database.ts";

/** How many there are of what, over all projects. */
export interface Census {
  agents: { status: string; liveness: string; count: number }[];
  /** Those that succeeded are estimated where they are many: counting would read them all. */
  tasks: { state: string; count: number }[];
  /** For how long the oldest has been due, been lent without a word of it, and run, in seconds; 0 where none is. */
  oldestSeconds: { pending: number; leased: number; running: number };
  /** How long the oldest event has waited for its number, in seconds; 0 where none waits. */
  outboxLagSeconds: number;
  /** Projects whose tasks are given back slowly, since many of their agents vanished at once. */
  brakesEngaged: number;
}

/** Tasks that succeeded are counted up to here; from there on the database's own estimate is near enough. */
const COUNTED_SUCCESSES = 50_000;

/** Counts. The table of agents' states is read whole; tasks by the small indexes of those that are not done. */
export async function readCensus(db: Db): Promise<Census> {
  const agents = await db.execute<Census["agents"][number]>(sql`
    SELECT status, liveness, count(*)::int AS count FROM agent_states GROUP BY status, liveness`);
  const tasks = await db.execute<Census["tasks"][number] & { seconds: number }>(sql`
    SELECT 'pending' AS state, count(*)::int AS count, 0::float8 AS seconds FROM tasks WHERE state = 'pending'
    UNION ALL
    SELECT state, count(*)::int, ${age(sql`min(CASE state WHEN 'leased' THEN leased_at ELSE started_at END)`)}
    FROM tasks WHERE state IN ('leased', 'running') GROUP BY state
    UNION ALL
    SELECT state, count(*)::int, 0 FROM tasks WHERE state IN ('failed', 'cancelled', 'quarantined') GROUP BY state`);
  const oldestOf = (state: string) => tasks.find((row) => row.state === state)?.seconds ?? 0;
  const unsuccessful = tasks.reduce((sum, { count }) => sum + count, 0);
  const [succeeded] = await db.execute<{ count: number }>(sql`
    SELECT (CASE WHEN counted < ${COUNTED_SUCCESSES}::bigint THEN counted
      ELSE greatest(counted, (SELECT reltuples FROM pg_class WHERE oid = 'tasks'::regclass) - ${unsuccessful}::bigint)
      END)::float8 AS count
    FROM (SELECT count(*) AS counted
          FROM (SELECT FROM tasks WHERE state = 'succeeded' LIMIT ${COUNTED_SUCCESSES}::bigint) AS successes) AS counts`);
  const [ages] = await db.execute<{ pending: number; outbox: number; brakes: number }>(sql`
    SELECT
      (SELECT ${age(sql`min(due_at)`)}
       FROM tasks WHERE state = 'pending' AND due_at <= clock_timestamp()) AS pending,
      coalesce((SELECT greatest(0, extract(epoch FROM clock_timestamp() - time))::float8
       FROM events WHERE seq IS NULL ORDER BY id LIMIT 1), 0) AS outbox,
      (SELECT count(*)::int FROM liveness_brakes) AS brakes`);
  return {
    agents: [...agents],
    tasks: [...tasks, { state: "succeeded", count: succeeded?.count ?? 0 }],
    oldestSeconds: {
      pending: ages?.pending ?? 0,
      leased: oldestOf("leased"),
      running: oldestOf("running"),
    },
    outboxLagSeconds: ages?.outbox ?? 0,
    brakesEngaged: ages?.brakes ?? 0,
  };
}

/** Seconds since a moment, 0 where there is none. */
function age(moment: SQL): SQL {
  return sql`coalesce(greatest(0, extract(epoch FROM clock_timestamp() - ${moment})), 0)::float8`;
}
