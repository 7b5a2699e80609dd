import type { Sql } from "postgres";

/** Has the database write down, from now on, until when each task was lent under which epoch. */
export async function recordLeases(sql: Sql): Promise<void> {
  await sql.unsafe(`
    CREATE TABLE lease_history (
      task_id uuid NOT NULL, lease_epoch bigint NOT NULL, agent_id uuid NOT NULL, expires_at timestamptz NOT NULL);
    CREATE FUNCTION record_lease() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO lease_history VALUES (NEW.id, NEW.lease_epoch, NEW.agent_id, NEW.lease_expires_at);
      RETURN NULL;
    END $$;
    CREATE TRIGGER record_lease AFTER UPDATE OF lease_expires_at ON tasks
      FOR EACH ROW WHEN (NEW.lease_expires_at IS NOT NULL) EXECUTE FUNCTION record_lease();`);
}

/** A lease that was valid together with a later one of the same task. */
export interface Overlap {
  taskId: string;
  epoch: string;
  laterEpoch: string;
}

/**
 * Leases of one task that were valid at the same time by the database's clock, since `recordLeases`. A lease is valid
 * from its loan to the last end that it was promised, or to its attempt's end where its own agent, or an operator,
 * ended that before.
 */
export async function overlappingLeases(sql: Sql): Promise<Overlap[]> {
  const [unrecorded] = await sql`
    SELECT 1 FROM task_attempts a WHERE NOT EXISTS (
      SELECT 1 FROM lease_history h WHERE h.task_id = a.task_id AND h.lease_epoch = a.lease_epoch)`;
  if (unrecorded !== undefined) throw new Error("an attempt has no recorded lease");
  return await sql<Overlap[]>`
    WITH validity AS (
      SELECT a.task_id, a.lease_epoch, a.began_at,
        CASE WHEN a.outcome IS NULL OR a.outcome = 'lost' THEN max(h.expires_at)
          ELSE LEAST(a.ended_at, max(h.expires_at)) END AS ends_at
      FROM task_attempts a JOIN lease_history h USING (task_id, lease_epoch)
      GROUP BY a.project_id, a.task_id, a.lease_epoch
    )
    SELECT one.task_id AS "taskId", one.lease_epoch AS epoch, later.lease_epoch AS "laterEpoch"
    FROM validity one JOIN validity later ON later.task_id = one.task_id AND later.lease_epoch > one.lease_epoch
    WHERE later.began_at < one.ends_at`;
}
