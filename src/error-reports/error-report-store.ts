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

export async function insertErrorReports(tx: Tx, reports: readonly NewErrorReport[]): Promise<void> {
  if (reports.length === 0) return;
  await tx
    .insert(errorReports)
    .values(reports.map(({ severityRank, ...columns }) => ({ ...columns, severity: severityRank })));
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
 * Counts occurrences on the newest row of their fingerprint, where the agent has stored that many rows of it within a
 * minute already. Resolves to those rows' ids, by agent; an agent that is not in it is due a row of its own. Every agent
 * comes once, and its row must be locked: two at once would both find room.
 */
export async function countInFlood(
  tx: Tx,
  reports: readonly Pick<NewErrorReport, "projectId" | "agentId" | "fingerprint">[],
  rowsPerMinute: number,
): Promise<Map<string, string>> {
  const input = reports.map(({ projectId, agentId, fingerprint }) => ({
    project_id: projectId,
    agent_id: agentId,
    fingerprint,
  }));
  const rows = await tx.execute<{ agent_id: string; id: string }>(sql`
    WITH flooded AS MATERIALIZED (
      SELECT g.project_id, g.agent_id, (minute.ids)[1] AS id
      FROM jsonb_to_recordset(${JSON.stringify(input)}::jsonb) AS g(project_id uuid, agent_id uuid, fingerprint text)
      CROSS JOIN LATERAL (
        SELECT array_agg(newest.id ORDER BY newest.created_at DESC, newest.id DESC) AS ids FROM (
          SELECT id, created_at FROM error_reports e
          WHERE e.project_id = g.project_id AND e.agent_id = g.agent_id AND e.fingerprint = g.fingerprint
            AND e.created_at > clock_timestamp() - interval '1 minute'
          ORDER BY created_at DESC, id DESC LIMIT ${rowsPerMinute}
        ) newest
      ) minute
      WHERE cardinality(minute.ids) >= ${rowsPerMinute}
    )
    UPDATE error_reports e SET occurrences = occurrences + 1, last_seen_at = clock_timestamp()
    FROM flooded f WHERE e.project_id = f.project_id AND e.id = f.id
    RETURNING f.agent_id, e.id`);
  return new Map([...rows].map((row) => [row.agent_id, row.id]));
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

/** Forgets errors that were last seen so long ago, a batch at a time; resolves to the number forgotten. */
export async function forgetOldErrors(db: Db, olderThanMs: number, batchSize: number): Promise<number> {
  const age = sql`${String(olderThanMs)}::float8 * interval '1 ms'`;
  const rows = await db.execute(sql`
    DELETE FROM error_reports WHERE ctid = ANY (ARRAY(
      SELECT old.ctid FROM projects p CROSS JOIN LATERAL (
        SELECT e.ctid FROM error_reports e
        WHERE e.project_id = p.id AND e.created_at < clock_timestamp() - ${age}
          AND e.last_seen_at < clock_timestamp() - ${age}
        ORDER BY e.created_at LIMIT ${batchSize} FOR UPDATE SKIP LOCKED) old
      LIMIT ${batchSize}))
    RETURNING 1`);
  return rows.length;
}

/** Message of the agent's newest error of that severity at least. */
export async function findNewestMessage(
  db: Db,
  projectId: string,
  agentId: string,
  leastRank: number,
): Promise<string | undefined> {
  const [row] = await db.execute<{ message: string }>(sql`
    SELECT message FROM error_reports
    WHERE project_id = ${projectId} AND agent_id = ${agentId} AND severity >= ${leastRank}
    ORDER BY created_at DESC, id DESC LIMIT 1`);
  return row?.message;
}
