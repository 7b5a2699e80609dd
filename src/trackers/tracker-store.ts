import { and, asc, eq, getTableColumns, sql } from "drizzle-orm";
import type { Db, Tx } from "../storage/database.ts";
import type { PageRequest } from "../storage/page.ts";
import { trackers } from "../storage/schema.ts";

export type TrackerRecord = typeof trackers.$inferSelect;
export type SyncState = TrackerRecord["syncState"];

/** Which open issues become which tasks. */
export interface TaskRule {
  label: string;
  taskKind: string;
  priority: number;
}

export interface NewTracker {
  projectId: string;
  id: string;
  kind: TrackerRecord["kind"];
  repository: string;
  baseUrl: string;
  credential: string;
  disabled: boolean;
  rule: TaskRule | undefined;
}

const ruleColumns = (rule: TaskRule | undefined) => ({
  ruleLabel: rule?.label ?? null,
  ruleTaskKind: rule?.taskKind ?? null,
  rulePriority: rule?.priority ?? null,
});

/** Adds a tracker; undefined where the project has one of that repository. */
export async function insertTracker(tx: Tx, tracker: NewTracker): Promise<TrackerRecord | undefined> {
  const { rule, ...columns } = tracker;
  const [row] = await tx
    .insert(trackers)
    .values({ ...columns, ...ruleColumns(rule) })
    .onConflictDoNothing()
    .returning();
  return row;
}

const ofTracker = (projectId: string, id: string) =>
  and(eq(trackers.projectId, projectId), eq(trackers.id, id));

export async function findTracker(
  db: Db | Tx,
  projectId: string,
  id: string,
): Promise<TrackerRecord | undefined> {
  const [row] = await db.select().from(trackers).where(ofTracker(projectId, id));
  return row;
}

export async function lockTracker(tx: Tx, projectId: string, id: string): Promise<TrackerRecord | undefined> {
  const [row] = await tx.select().from(trackers).where(ofTracker(projectId, id)).for("update");
  return row;
}

/** What a sync asks of a tracker's row under its lock, by the database's clock. */
export async function lockForSync(
  tx: Tx,
  projectId: string,
  id: string,
  since: Date,
): Promise<(TrackerRecord & { endedSince: boolean; restMs: number }) | undefined> {
  const [row] = await tx
    .select({
      ...getTableColumns(trackers),
      endedSince: sql<boolean>`coalesce(${trackers.syncEndedAt} >= ${since.toISOString()}::timestamptz, false)`,
      restMs: sql<number>`greatest(0, ceil(extract(epoch FROM coalesce(${trackers.rateLimitedUntil}, '-infinity') - clock_timestamp()) * 1000))::float8`,
    })
    .from(trackers)
    .where(ofTracker(projectId, id))
    .for("update");
  return row;
}

export interface TrackerChange {
  credential?: string;
  disabled?: boolean;
  /** Undefined stays; null takes the rule away. */
  rule?: TaskRule | null;
}

/** Changes a locked tracker. */
export async function writeTracker(
  tx: Tx,
  projectId: string,
  id: string,
  { credential, disabled, rule }: TrackerChange,
): Promise<void> {
  const values = {
    // With another credential another answer may be due.
    ...(credential !== undefined && { credential, etag: "" }),
    ...(disabled !== undefined && { disabled }),
    ...(rule !== undefined && ruleColumns(rule ?? undefined)),
  };
  if (Object.keys(values).length > 0) await tx.update(trackers).set(values).where(ofTracker(projectId, id));
}

/** Gives a locked tracker to a run that fetches from now on. */
export async function beginSync(tx: Tx, projectId: string, id: string, runId: string): Promise<void> {
  await tx.update(trackers).set({ syncRun: runId }).where(ofTracker(projectId, id));
}

/** Moves a locked tracker's cursor. */
export async function moveCursor(
  tx: Tx,
  projectId: string,
  id: string,
  place: { cursor: Date | null; etag: string },
): Promise<void> {
  await tx.update(trackers).set(place).where(ofTracker(projectId, id));
}

/** Notes how a run's sync ended, unless another run has taken over since. */
export async function endSync(
  db: Db,
  projectId: string,
  id: string,
  runId: string,
  end: { state: SyncState; detail: string; restMs: number | undefined },
): Promise<void> {
  const now = sql`clock_timestamp()`;
  await db
    .update(trackers)
    .set({
      syncState: end.state,
      syncDetail: end.detail,
      syncEndedAt: now,
      ...(end.state === "synced" && { syncedAt: now }),
      rateLimitedUntil:
        end.restMs === undefined
          ? null
          : sql`clock_timestamp() + ${String(end.restMs)}::float8 * interval '1 ms'`,
    })
    .where(and(ofTracker(projectId, id), eq(trackers.syncRun, runId)));
}

export async function removeTracker(tx: Tx, projectId: string, id: string): Promise<void> {
  await tx.delete(trackers).where(ofTracker(projectId, id));
}

/** The project's trackers that passes fetch from, the oldest first. */
export async function listEnabledTrackers(
  db: Db,
  projectId: string,
): Promise<{ id: string; repository: string }[]> {
  return await db
    .select({ id: trackers.id, repository: trackers.repository })
    .from(trackers)
    .where(and(eq(trackers.projectId, projectId), eq(trackers.disabled, false)))
    .orderBy(asc(trackers.createdAt), asc(trackers.id));
}

/** One row more than the page's size, the oldest first. */
export async function listTrackers(
  db: Db,
  projectId: string,
  page: PageRequest,
): Promise<(TrackerRecord & { sortTime: string })[]> {
  const [time, id] = page.after ?? [];
  const place = sql`(${trackers.createdAt}, ${trackers.id}) > (${time}::timestamptz, ${id}::uuid)`;
  return await db
    .select({ ...getTableColumns(trackers), sortTime: sql<string>`${trackers.createdAt}::text` })
    .from(trackers)
    .where(and(eq(trackers.projectId, projectId), page.after === undefined ? undefined : place))
    .orderBy(asc(trackers.createdAt), asc(trackers.id))
    .limit(page.size + 1);
}
