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
  await tx.insert(auditEntries).values(changes.map((change) => ({ id: newUuid(), ...change })));
}

export interface AuditFilter {
  projectId: string;
  subject?: string;
  actor?: string;
  actions: string[];
  field?: string;
  since?: Date;
  until?: Date;
  oldestFirst: boolean;
}

export type AuditRow = typeof auditEntries.$inferSelect & { sortTime: string };

/** One row more than the page's size, so that the caller sees whether another page follows. */
export async function listAudit(db: Db, filter: AuditFilter, page: PageRequest): Promise<AuditRow[]> {
  const conditions: SQL[] = [eq(auditEntries.projectId, filter.projectId)];
  if (filter.subject !== undefined) conditions.push(eq(auditEntries.subject, filter.subject));
  if (filter.actor !== undefined) conditions.push(eq(auditEntries.actor, filter.actor));
  if (filter.actions.length > 0) conditions.push(inArray(auditEntries.action, filter.actions));
  if (filter.field !== undefined) conditions.push(eq(auditEntries.field, filter.field));
  if (filter.since !== undefined) conditions.push(gte(auditEntries.time, filter.since));
  if (filter.until !== undefined) conditions.push(lt(auditEntries.time, filter.until));
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
