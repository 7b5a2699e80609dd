import { and, asc, desc, eq, gte, inArray, lt, type SQL, sql } from "drizzle-orm";
import { newUuid } from "../runtime/resource-id.ts";
import type { Db, Tx } from "../storage/database.ts";
import type { PageRequest } from "../storage/page.ts";
import { auditEntries } from "../storage/schema.ts";

/** One change of state, to be written in the transaction that makes it. */
export interface AuditChange {
  projectId: string;
  /** `agent:NAME`, `token:ID` or `server`. */
  actor: string;
  /** Such as `agent.status_changed`. */
  action: string;
  /** Id of what changed, such as `agent_0190…`. */
  subject: string;
  field?: string;
  from?: string;
  to?: string;
  /** The agent's version that the change made. */
  version?: bigint;
  reason?: string;
  requestId?: string;
}

/** Appends entries; they are there if and only if the transaction commits. */
export async function appendAudit(tx: Tx, changes: readonly AuditChange[]): Promise<void> {
  if (changes.length === 0) return;
  await tx.execute(auditInsert(changes));
}

/** The statement that appends entries, also as a part of another one: that which makes the changes. */
export function auditInsert(changes: readonly AuditChange[]): SQL {
  const column = <T>(read: (change: AuditChange) => T) => sql.param(changes.map(read));
  return sql`
    INSERT INTO audit_entries (project_id, id, actor, action, subject, field, from_value, to_value, version, reason, request_id)
    SELECT * FROM unnest(
      ${column(({ projectId }) => projectId)}::uuid[], ${column(() => newUuid())}::uuid[],
      ${column(({ actor }) => actor)}::text[], ${column(({ action }) => action)}::text[],
      ${column(({ subject }) => subject)}::text[], ${column(({ field = "" }) => field)}::text[],
      ${column(({ from = "" }) => from)}::text[], ${column(({ to = "" }) => to)}::text[],
      ${column(({ version }) => (version === undefined ? null : String(version)))}::bigint[],
      ${column(({ reason = "" }) => reason)}::text[], ${column(({ requestId = "" }) => requestId)}::text[]
    )`;
}

export interface AuditFilter {
  projectId: string;
  subject?: string;
  actor?: string;
  actions: string[];
  field?: string;
  since?: Date;
  until?: Date;
  /** Only entries before this moment, to the microsecond, as the database prints it. */
  settledBefore?: string;
  oldestFirst: boolean;
}

export type AuditRow = typeof auditEntries.$inferSelect & { sortTime: string };

/** One row more than the page's size, so that the caller sees whether another page follows. */
export async function listAudit(
  db: Db,
  filter: AuditFilter,
  page: Pick<PageRequest, "size" | "after">,
): Promise<AuditRow[]> {
  const conditions: SQL[] = [eq(auditEntries.projectId, filter.projectId)];
  if (filter.subject !== undefined) conditions.push(eq(auditEntries.subject, filter.subject));
  if (filter.actor !== undefined) conditions.push(eq(auditEntries.actor, filter.actor));
  if (filter.actions.length > 0) conditions.push(inArray(auditEntries.action, filter.actions));
  if (filter.field !== undefined) conditions.push(eq(auditEntries.field, filter.field));
  if (filter.since !== undefined) conditions.push(gte(auditEntries.time, filter.since));
  if (filter.until !== undefined) conditions.push(lt(auditEntries.time, filter.until));
  if (filter.settledBefore !== undefined) {
    conditions.push(sql`${auditEntries.time} < ${filter.settledBefore}::timestamptz`);
  }
  if (page.after !== undefined) {
    const [time, id] = page.after;
    const place = sql`(${time}::timestamptz, ${id}::uuid)`;
    conditions.push(filter.oldestFirst ? sql`(time, id) > ${place}` : sql`(time, id) < ${place}`);
  }
  const direction = filter.oldestFirst ? asc : desc;
  const rows = await db
    .select({ entry: auditEntries, sortTime: sql<string>`${auditEntries.time}::text` })
    .from(auditEntries)
    .where(and(...conditions))
    .orderBy(direction(auditEntries.time), direction(auditEntries.id))
    .limit(page.size + 1);
  return rows.map((row) => ({ ...row.entry, sortTime: row.sortTime }));
}

/** An entry's place among those of its project; undefined where it is not kept any more. */
export async function findPlace(
  db: Db,
  projectId: string,
  id: string,
): Promise<[time: string, id: string] | undefined> {
  const [row] = await db.execute<{ time: string }>(sql`
    SELECT time::text AS time FROM audit_entries WHERE project_id = ${projectId} AND id = ${id}`);
  return row && [row.time, id];
}

/** The moment now, for `findSettled`. */
export async function readMoment(db: Db): Promise<string> {
  const [row] = await db.execute<{ moment: string }>(sql`SELECT clock_timestamp()::text AS moment`);
  if (row === undefined) throw new Error("the database has no clock");
  return row.moment;
}

/**
 * Up to when no entry can be missing that will be committed yet: that moment, or the beginning of the oldest transaction
 * before it that still writes. An entry has its time before it is committed, so that entries appear out of order.
 */
export async function findSettled(db: Db, moment: string): Promise<{ before: string; isMoment: boolean }> {
  const [row] = await db.execute<{ before: string; settled: boolean }>(sql`
    SELECT least(${moment}::timestamptz, min(xact_start))::text AS before, count(*) = 0 AS settled
    FROM pg_stat_activity
    WHERE datname = current_database() AND backend_xid IS NOT NULL AND xact_start < ${moment}::timestamptz`);
  if (row === undefined) throw new Error("an aggregate gives one row");
  return { before: row.before, isMoment: row.settled };
}
