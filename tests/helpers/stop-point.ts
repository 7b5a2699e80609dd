import type { Sql } from "postgres";
import { openRawSql } from "./raw-sql.ts";
import { waitFor } from "./wait-for.ts";

/** A place in the database at which the server's next transaction stands still until it is let go. */
export interface StopPoint {
  /** Resolves when a transaction stands here, to the process id of its backend. */
  reached(): Promise<number>;
  /** Lets everyone go, and nobody stops here any more. */
  release(): Promise<void>;
}

/** When a trigger stops its transaction; `in commit` is a deferred constraint, checked when COMMIT was sent. */
export type TriggerMoment =
  | "before insert"
  | "after insert"
  | "before update"
  | "before delete"
  | "in commit after insert"
  | "in commit after update";

let lastKey = 0;

/** Stops transactions at a change of a table's rows. `condition` may speak of the trigger's NEW row. */
export async function stopAtChange(
  databaseUrl: string,
  table: string,
  moment: TriggerMoment,
  condition = "true",
): Promise<StopPoint> {
  lastKey += 1;
  const key = lastKey;
  const holder = openRawSql(databaseUrl, 1);
  const name = `stop_${key}`;
  const inCommit = moment.startsWith("in commit ");
  const change = moment.replace("in commit ", "").toUpperCase();
  await holder`SELECT pg_advisory_lock(1001, ${key})`;
  await holder.unsafe(`
    CREATE FUNCTION ${name}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM pg_advisory_xact_lock_shared(1001, ${key});
      RETURN COALESCE(NEW, OLD);
    END $$;
    CREATE ${inCommit ? "CONSTRAINT " : ""}TRIGGER ${name} ${change} ON ${table}
      ${inCommit ? "DEFERRABLE INITIALLY DEFERRED" : ""} FOR EACH ROW WHEN (${condition}) EXECUTE FUNCTION ${name}();
  `);
  return {
    reached: () =>
      waitFor(() => waiterFor(holder, key), { what: `a stop ${moment} of ${table}`, timeoutMs: 20_000 }),
    async release() {
      // Dropping waits for those that stand here, so they are let go first.
      await holder`SELECT pg_advisory_unlock(1001, ${key})`;
      await holder.unsafe(`DROP FUNCTION ${name} CASCADE`);
      await holder.end();
    },
  };
}

async function waiterFor(sql: Sql, key: number): Promise<number | undefined> {
  const [row] = await sql<{ pid: number }[]>`
    SELECT pid FROM pg_locks
    WHERE locktype = 'advisory' AND classid = 1001 AND objid = ${key} AND NOT granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`;
  return row?.pid;
}

/** Takes a lock by a statement, such as one with FOR UPDATE or LOCK TABLE, and holds it until it is released. */
export async function holdLock(
  databaseUrl: string,
  statement: string,
): Promise<StopPoint & { waiting(): Promise<number> }> {
  const holder = openRawSql(databaseUrl, 1);
  const looker = openRawSql(databaseUrl, 1);
  await holder.unsafe("BEGIN");
  await holder.unsafe(statement);
  const [own] = await holder<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`;
  const waiters = async () =>
    await looker<{ pid: number }[]>`
      SELECT pid FROM pg_stat_activity WHERE ${own?.pid ?? 0} = ANY (pg_blocking_pids(pid)) ORDER BY query_start`;
  return {
    reached: () =>
      waitFor(async () => (await waiters())[0]?.pid, { what: `a wait for ${statement}`, timeoutMs: 20_000 }),
    waiting: async () => {
      const [row] = await looker<{ count: number }[]>`
        SELECT count(*)::int AS count FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND datname = current_database()`;
      return row?.count ?? 0;
    },
    async release() {
      await holder.unsafe("ROLLBACK");
      await Promise.all([holder.end(), looker.end()]);
    },
  };
}

/** Resolves when a backend is gone, and with it whatever its transaction had not committed. */
export async function backendGone(sql: Sql, pid: number): Promise<void> {
  const isGone = async () => {
    const rows = await sql`SELECT 1 FROM pg_stat_activity WHERE pid = ${pid}`;
    return rows.length === 0;
  };
  await waitFor(isGone, { what: `the end of backend ${pid}`, timeoutMs: 20_000 });
}
