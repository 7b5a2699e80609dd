import { and, asc, desc, eq, getTableColumns, inArray, type SQL, sql } from "drizzle-orm";
import { newUuid } from "../runtime/resource-id.ts";
import type { Db, Tx } from "../storage/database.ts";
import type { PageRequest } from "../storage/page.ts";
import { issues } from "../storage/schema.ts";
import type { UpstreamIssue } from "./tracker.ts";

export type IssueRecord = typeof issues.$inferSelect;

/**
 * Adds and changes issues by one statement; resolves to the addresses of those that were new or other than before. What
 * is newer here stays, and so does the state here.
 */
export async function upsertIssues(
  tx: Tx,
  projectId: string,
  trackerId: string,
  found: readonly UpstreamIssue[],
): Promise<string[]> {
  if (found.length === 0) return [];
  // A page that shifted while it was read can hold an issue twice.
  const byNumber = new Map(found.map((issue) => [issue.number, issue]));
  const input = [...byNumber.values()].map((issue) => ({ id: newUuid(), ...issue }));
  const rows = await tx.execute<{ url: string }>(sql`
    INSERT INTO issues AS i (project_id, id, tracker_id, number, url, title, author, labels, state, upstream_state,
      created_at, updated_at, closed_at)
    SELECT ${projectId}::uuid, n.id, ${trackerId}::uuid, n.number, n.url, n.title, n.author, n.labels, n.state, n.state,
      n."createdAt", n."updatedAt", n."closedAt"
    FROM jsonb_to_recordset(${JSON.stringify(input)}::jsonb) AS n(id uuid, number bigint, url text, title text,
      author text, labels jsonb, state text, "createdAt" timestamptz, "updatedAt" timestamptz, "closedAt" timestamptz)
    ORDER BY n.number
    ON CONFLICT (project_id, tracker_id, number) DO UPDATE SET url = excluded.url, title = excluded.title,
      author = excluded.author, labels = excluded.labels, upstream_state = excluded.upstream_state,
      updated_at = excluded.updated_at, closed_at = excluded.closed_at, confirmed_at = clock_timestamp()
    WHERE i.updated_at <= excluded.updated_at AND (i.url, i.title, i.author, i.labels, i.upstream_state, i.updated_at)
      IS DISTINCT FROM (excluded.url, excluded.title, excluded.author, excluded.labels, excluded.upstream_state, excluded.updated_at)
    RETURNING i.url`);
  return [...rows].map(({ url }) => url);
}

/** Open issues with a task whose existence was not confirmed for an hour; `limit` of them. */
export async function findUnconfirmed(
  db: Db,
  projectId: string,
  trackerId: string,
  limit: number,
): Promise<{ id: string; number: number }[]> {
  const rows = await db
    .select({ id: issues.id, number: issues.number })
    .from(issues)
    .where(
      and(
        eq(issues.projectId, projectId),
        eq(issues.trackerId, trackerId),
        eq(issues.upstreamState, "open"),
        sql`${issues.ruleTaskId} IS NOT NULL AND ${issues.confirmedAt} < clock_timestamp() - interval '1 hour'`,
      ),
    )
    .orderBy(asc(issues.confirmedAt))
    .limit(limit);
  return rows.map(({ id, number }) => ({ id, number: Number(number) }));
}

/** Notes whether an issue is still upstream; one that is gone counts as closed there. */
export async function confirmIssue(tx: Tx, projectId: string, id: string, isThere: boolean): Promise<void> {
  await tx
    .update(issues)
    .set({ confirmedAt: sql`clock_timestamp()`, ...(!isThere && { upstreamState: "closed" as const }) })
    .where(and(eq(issues.projectId, projectId), eq(issues.id, id)));
}

export async function writeIssue(
  tx: Tx,
  projectId: string,
  id: string,
  change: { state?: "open" | "closed"; ruleTaskId?: string | null },
): Promise<void> {
  if (Object.keys(change).length === 0) return;
  await tx
    .update(issues)
    .set(change)
    .where(and(eq(issues.projectId, projectId), eq(issues.id, id)));
}

export async function removeIssues(tx: Tx, projectId: string, trackerId: string): Promise<void> {
  await tx.delete(issues).where(and(eq(issues.projectId, projectId), eq(issues.trackerId, trackerId)));
}

export interface IssueFilter {
  projectId: string;
  trackerId: string | undefined;
  states: ("open" | "closed")[];
  labels: string[];
}

/** One row more than the page's size. */
export async function listIssues(
  db: Db,
  filter: IssueFilter,
  oldestFirst: boolean,
  page: PageRequest,
): Promise<(IssueRecord & { sortTime: string })[]> {
  const conditions: SQL[] = [eq(issues.projectId, filter.projectId)];
  if (filter.trackerId !== undefined) conditions.push(eq(issues.trackerId, filter.trackerId));
  if (filter.states.length > 0) conditions.push(inArray(issues.state, filter.states));
  if (filter.labels.length > 0) {
    conditions.push(sql`${issues.labels} @> ${JSON.stringify(filter.labels)}::jsonb`);
  }
  if (page.after !== undefined) {
    const [time, id] = page.after;
    const place = sql`(${time}::timestamptz, ${id}::uuid)`;
    const row = sql`(${issues.updatedAt}, ${issues.id})`;
    conditions.push(oldestFirst ? sql`${row} > ${place}` : sql`${row} < ${place}`);
  }
  const direction = oldestFirst ? asc : desc;
  return await db
    .select({ ...getTableColumns(issues), sortTime: sql<string>`${issues.updatedAt}::text` })
    .from(issues)
    .where(and(...conditions))
    .orderBy(direction(issues.updatedAt), direction(issues.id))
    .limit(page.size + 1);
}
