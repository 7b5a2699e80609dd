import { and, asc, desc, eq, gte, inArray, type SQL, sql } from "drizzle-orm";
import type { Db, Tx } from "../storage/database.ts";
import type { PageRequest } from "../storage/page.ts";
import { agents, errorReports, type JsonObject } from "../storage/schema.ts";

/** An error as stored: scrubbed, with its severity as a rank. */
export interface ErrorReportRecord {
  id: string;
  agentId: string;
  agentName: string;
  severityRank: number;
  message: string;
  context: JsonObject | null;
  taskId: string | null;
  fingerprint: string;
  occurrences: bigint;
  createdAt: Date;
  lastSeenAt: Date;
}

export interface NewErrorReport {
  projectId: string;
  id: string;
  agentId: string;
  severityRank: number;
  message: string;
  context: JsonObject | null;
  taskId: string | null;
  fingerprint: string;
}

const recordColumns = {
  id: errorReports.id,
  agentId: errorReports.agentId,
  agentName: agents.name,
  severityRank: errorReports.severity,
  message: errorReports.message,
  context: errorReports.context,
  taskId: errorReports.taskId,
  fingerprint: errorReports.fingerprint,
  occurrences: errorReports.occurrences,
  createdAt: errorReports.createdAt,
  lastSeenAt: errorReports.lastSeenAt,
};

const withAgent = and(eq(agents.projectId, errorReports.projectId), eq(agents.id, errorReports.agentId));

export async function insertErrorReport(tx: Tx, report: NewErrorReport): Promise<void> {
  const { severityRank, ...columns } = report;
  await tx.insert(errorReports).values({ ...columns, severity: severityRank });
}

export async function findErrorReport(
  tx: Tx,
  projectId: string,
  id: string,
): Promise<ErrorReportRecord | undefined> {
  const [row] = await tx
    .select(recordColumns)
    .from(errorReports)
    .innerJoin(agents, withAgent)
    .where(and(eq(errorReports.projectId, projectId), eq(errorReports.id, id)));
  return row;
}

/**
 * Counts an occurrence on the newest row of a fingerprint, where the agent has stored that many rows of it within a
 * minute already. Resolves to that row's id, or undefined where a row of its own is due. The agent's row must be
 * locked: two at once would both find room.
 */
export async function countInFlood(
  tx: Tx,
  report: Pick<NewErrorReport, "projectId" | "agentId" | "fingerprint">,
  rowsPerMinute: number,
): Promise<string | undefined> {
  const rows = await tx.execute<{ id: string }>(sql`
    WITH minute AS (
      SELECT id, created_at FROM error_reports
      WHERE project_id = ${report.projectId} AND agent_id = ${report.agentId} AND fingerprint = ${report.fingerprint}
        AND created_at > clock_timestamp() - interval '1 minute'
      ORDER BY created_at DESC, id DESC LIMIT ${rowsPerMinute}
    )
    UPDATE error_reports SET occurrences = occurrences + 1, last_seen_at = clock_timestamp()
    WHERE project_id = ${report.projectId}
      AND id = (SELECT id FROM minute ORDER BY created_at DESC, id DESC LIMIT 1)
      AND (SELECT count(*) FROM minute) >= ${rowsPerMinute}
    RETURNING id`);
  return rows[0]?.id;
}

export interface ErrorFilter {
  projectId: string;
  agentId?: string;
  severityRanks: number[];
  fingerprint?: string;
  taskId?: string;
  since?: Date;
}

function conditionsOf(filter: ErrorFilter): SQL[] {
  const conditions: SQL[] = [eq(errorReports.projectId, filter.projectId)];
  if (filter.agentId !== undefined) conditions.push(eq(errorReports.agentId, filter.agentId));
  if (filter.severityRanks.length > 0) conditions.push(inArray(errorReports.severity, filter.severityRanks));
  if (filter.fingerprint !== undefined) conditions.push(eq(errorReports.fingerprint, filter.fingerprint));
  if (filter.taskId !== undefined) conditions.push(eq(errorReports.taskId, filter.taskId));
  if (filter.since !== undefined) conditions.push(gte(errorReports.createdAt, filter.since));
  return conditions;
}

/** One row more than the page's size. */
export async function listErrorReports(
  db: Db,
  filter: ErrorFilter,
  oldestFirst: boolean,
  page: PageRequest,
): Promise<(ErrorReportRecord & { sortTime: string })[]> {
  const conditions = conditionsOf(filter);
  if (page.after !== undefined) {
    const [time, id] = page.after;
    const place = sql`(${time}::timestamptz, ${id}::uuid)`;
    const row = sql`(${errorReports.createdAt}, ${errorReports.id})`;
    conditions.push(oldestFirst ? sql`${row} > ${place}` : sql`${row} < ${place}`);
  }
  const direction = oldestFirst ? asc : desc;
  return await db
    .select({ ...recordColumns, sortTime: sql<string>`${errorReports.createdAt}::text` })
    .from(errorReports)
    .innerJoin(agents, withAgent)
    .where(and(...conditions))
    .orderBy(direction(errorReports.createdAt), direction(errorReports.id))
    .limit(page.size + 1);
}

/** Errors of one fingerprint. */
export interface ErrorGroupRecord {
  fingerprint: string;
  severityRank: number;
  message: string;
  count: bigint;
  agentCount: bigint;
  firstSeenAt: Date;
  lastSeenAt: Date;
  sortTime: string;
}

/** One group more than the page's size, the group with the newest error first. */
export async function listErrorGroups(
  db: Db,
  filter: ErrorFilter,
  page: PageRequest,
): Promise<ErrorGroupRecord[]> {
  const [time, fingerprint] = page.after ?? [];
  const last = sql`max(${errorReports.lastSeenAt})`;
  const place = sql`(${last}, ${errorReports.fingerprint}) < (${time}::timestamptz, ${fingerprint})`;
  return await db
    .select({
      fingerprint: errorReports.fingerprint,
      severityRank: sql<number>`max(${errorReports.severity})`,
      message: sql<string>`(array_agg(${errorReports.message} ORDER BY ${errorReports.createdAt} DESC))[1]`,
      count: sql<bigint>`sum(${errorReports.occurrences})::bigint`.mapWith(BigInt),
      agentCount: sql<bigint>`count(DISTINCT ${errorReports.agentId})`.mapWith(BigInt),
      firstSeenAt: sql<Date>`min(${errorReports.createdAt})`.mapWith(errorReports.createdAt),
      lastSeenAt: sql<Date>`${last}`.mapWith(errorReports.lastSeenAt),
      sortTime: sql<string>`${last}::text`,
    })
    .from(errorReports)
    .where(and(...conditionsOf(filter)))
    .groupBy(errorReports.fingerprint)
    .having(page.after === undefined ? sql`true` : place)
    .orderBy(desc(last), desc(errorReports.fingerprint))
    .limit(page.size + 1);
}

/** Occurrences and worst severity of the last 24 hours, by agent id; agents without errors are left out. */
export async function recentErrors(
  db: Db | Tx,
  projectId: string,
  agentIds: string[],
): Promise<Map<string, { count: bigint; worstRank: number }>> {
  if (agentIds.length === 0) return new Map();
  const rows = await db
    .select({
      agentId: errorReports.agentId,
      count: sql<bigint>`sum(${errorReports.occurrences})::bigint`.mapWith(BigInt),
      worstRank: sql<number>`max(${errorReports.severity})`,
    })
    .from(errorReports)
    .where(
      and(
        eq(errorReports.projectId, projectId),
        inArray(errorReports.agentId, agentIds),
        sql`${errorReports.createdAt} > clock_timestamp() - interval '24 hours'`,
      ),
    )
    .groupBy(errorReports.agentId);
  return new Map(rows.map(({ agentId, ...errors }) => [agentId, errors]));
}
