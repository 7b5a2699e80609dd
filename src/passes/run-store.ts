import { and, asc, desc, eq, getTableColumns, gte, inArray, type SQL, sql } from "drizzle-orm";
import type { Db, Tx } from "../storage/database.ts";
import type { PageRequest } from "../storage/page.ts";
import { runs, type StepRecord } from "../storage/schema.ts";
import { lockNumber } from "../storage/session-locks.ts";
import type { PassConclusion } from "./plan-pass.ts";

export type RunRecord = typeof runs.$inferSelect;

/** Key of the lock that the server of a running pass holds. */
export function runLockKey(runId: string): string {
  return `run ${runId}`;
}

const ofRun = (projectId: string, id: string) => and(eq(runs.projectId, projectId), eq(runs.id, id));

export async function insertRun(
  tx: Tx,
  run: { projectId: string; id: string; agentName: string; actor: string },
): Promise<{ startedAt: Date }> {
  const [row] = await tx.insert(runs).values(run).returning({ startedAt: runs.startedAt });
  if (row === undefined) throw new Error("a run was not inserted");
  return row;
}

/** Shows how far a run is. */
export async function writeProgress(
  db: Db,
  projectId: string,
  id: string,
  summary: string,
  steps: StepRecord[],
): Promise<void> {
  await db
    .update(runs)
    .set({ summary, steps })
    .where(and(ofRun(projectId, id), eq(runs.status, "running")));
}

/** Ends a run; undefined where it was called interrupted before. */
export async function finishRun(
  tx: Tx,
  projectId: string,
  id: string,
  conclusion: PassConclusion,
  steps: StepRecord[],
): Promise<RunRecord | undefined> {
  const [row] = await tx
    .update(runs)
    .set({ ...conclusion, steps, finishedAt: sql`clock_timestamp()` })
    .where(and(ofRun(projectId, id), eq(runs.status, "running")))
    .returning();
  return row;
}

/** Runs that are said to run, of whatever project. */
export async function listRunning(db: Db, limit: number): Promise<{ projectId: string; id: string }[]> {
  return await db
    .select({ projectId: runs.projectId, id: runs.id })
    .from(runs)
    .where(eq(runs.status, "running"))
    .orderBy(sql`random()`)
    .limit(limit);
}

/** Ends a run that no server works on any more; undefined where one does, or where it ended meanwhile. */
export async function interruptRun(
  tx: Tx,
  projectId: string,
  id: string,
  error: string,
): Promise<RunRecord | undefined> {
  const [lock] = await tx.execute<{ free: boolean }>(
    sql`SELECT pg_try_advisory_xact_lock(${lockNumber(runLockKey(id))}) AS free`,
  );
  if (lock?.free !== true) return undefined;
  const [row] = await tx
    .update(runs)
    .set({
      status: "interrupted",
      summary: sql`'interrupted' || CASE WHEN summary = '' THEN '' ELSE ' at ' || left(summary, 1000) END`,
      errors: [error],
      finishedAt: sql`clock_timestamp()`,
    })
    .where(and(ofRun(projectId, id), eq(runs.status, "running")))
    .returning();
  return row;
}

export async function findRun(db: Db, projectId: string, id: string): Promise<RunRecord | undefined> {
  const [row] = await db.select().from(runs).where(ofRun(projectId, id));
  return row;
}

export interface RunFilter {
  projectId: string;
  agentName: string | undefined;
  statuses: RunRecord["status"][];
  since: Date | undefined;
}

/** One row more than the page's size. */
export async function listRuns(
  db: Db,
  filter: RunFilter,
  oldestFirst: boolean,
  page: PageRequest,
): Promise<(RunRecord & { sortTime: string })[]> {
  const conditions: SQL[] = [eq(runs.projectId, filter.projectId)];
  if (filter.agentName !== undefined) conditions.push(eq(runs.agentName, filter.agentName));
  if (filter.statuses.length > 0) conditions.push(inArray(runs.status, filter.statuses));
  if (filter.since !== undefined) conditions.push(gte(runs.startedAt, filter.since));
  if (page.after !== undefined) {
    const [time, id] = page.after;
    const place = sql`(${time}::timestamptz, ${id}::uuid)`;
    const row = sql`(${runs.startedAt}, ${runs.id})`;
    conditions.push(oldestFirst ? sql`${row} > ${place}` : sql`${row} < ${place}`);
  }
  const direction = oldestFirst ? asc : desc;
  return await db
    .select({ ...getTableColumns(runs), sortTime: sql<string>`${runs.startedAt}::text` })
    .from(runs)
    .where(and(...conditions))
    .orderBy(direction(runs.startedAt), direction(runs.id))
    .limit(page.size + 1);
}

/** Forgets runs that ended and began so many ms ago, a batch at a time; resolves to the number forgotten. */
export async function forgetOldRuns(db: Db, olderThanMs: number, batchSize: number): Promise<number> {
  const rows = await db.execute(sql`
    DELETE FROM runs WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM runs
      WHERE started_at < clock_timestamp() - ${String(olderThanMs)}::float8 * interval '1 ms' AND status <> 'running'
      ORDER BY started_at LIMIT ${batchSize} FOR UPDATE SKIP LOCKED))
    RETURNING 1`);
  return rows.length;
}
