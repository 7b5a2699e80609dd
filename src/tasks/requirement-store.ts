import { createHash } from "node:crypto";
import { sql } from "drizzle-orm";
import type { Db, Tx } from "../storage/database.ts";
import type { Labels } from "../storage/schema.ts";
import { NO_REQUIREMENTS, type Requirements } from "./match-task.ts";

/** Id of the set without a requirement, which has no row and which every agent meets. */
export const NO_REQUIREMENT_SET = "00000000-0000-0000-0000-000000000000";

/** The same id for the same requirements, in whatever order they are named. */
export function requirementSetId({ capabilities, labels }: Requirements): string {
  if (capabilities.length === 0 && Object.keys(labels).length === 0) return NO_REQUIREMENT_SET;
  const content = [
    [...new Set(capabilities)].sort(),
    Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)),
  ];
  const hex = createHash("sha256").update(JSON.stringify(content)).digest("hex");
  return hex.slice(0, 32).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** What the column of a task holds; null: nothing is required. */
export function columnOfRequirements(requirements: Requirements): string | null {
  return requirementSetId(requirements) === NO_REQUIREMENT_SET ? null : JSON.stringify(requirements);
}

/** The reverse of `columnOfRequirements`. */
export function requirementsOfColumn(text: string | null): Requirements {
  // The column holds nothing else.
  return text === null ? NO_REQUIREMENTS : (JSON.parse(text) as Requirements);
}

/**
 * Sees to it that the sets have their rows, and keeps these until the transaction ends: a set without tasks may be
 * forgotten at any time.
 */
export async function keepRequirementSets(
  tx: Tx,
  projectId: string,
  wanted: readonly Requirements[],
): Promise<void> {
  const sets = new Map(wanted.map((requirements) => [requirementSetId(requirements), requirements]));
  sets.delete(NO_REQUIREMENT_SET);
  if (sets.size === 0) return;
  // In one order everywhere, so that two transactions do not wait for each other.
  const input = [...sets]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([id, { capabilities, labels }]) => ({ id, capabilities, labels }));
  for (;;) {
    await tx.execute(sql`
      INSERT INTO task_requirement_sets (project_id, id, capabilities, labels)
      SELECT ${projectId}::uuid, s.id, s.capabilities, s.labels
      FROM jsonb_to_recordset(${JSON.stringify(input)}::jsonb) AS s(id uuid, capabilities jsonb, labels jsonb)
      ON CONFLICT DO NOTHING`);
    const kept = await tx.execute(sql`
      SELECT 1 FROM task_requirement_sets
      WHERE project_id = ${projectId} AND id = ANY (${sql.param(input.map(({ id }) => id))}::uuid[])
      ORDER BY id FOR KEY SHARE`);
    // One that was forgotten in between is made anew.
    if (kept.length === input.length) return;
  }
}

/** Forgets up to so many sets that no task needs any more; resolves to the number forgotten. */
export async function forgetUnusedRequirementSets(tx: Tx, limit: number): Promise<number> {
  const unused = sql.raw(`NOT EXISTS (
    SELECT 1 FROM tasks t WHERE t.project_id = s.project_id AND t.requirement_set = s.id AND t.state = 'pending')
    AND NOT EXISTS (
    SELECT 1 FROM tasks t WHERE t.project_id = s.project_id AND t.requirement_set = s.id
      AND t.state IN ('leased', 'running'))`);
  const locked = await tx.execute<{ project_id: string; id: string }>(sql`
    SELECT s.project_id, s.id FROM task_requirement_sets s
    WHERE s.created_at < clock_timestamp() - interval '1 hour' AND ${unused}
    LIMIT ${limit} FOR UPDATE SKIP LOCKED`);
  if (locked.length === 0) return 0;
  // Whoever kept one while the first statement ran has committed by now, and shows in this one.
  const gone = await tx.execute(sql`
    DELETE FROM task_requirement_sets s
    USING jsonb_to_recordset(${JSON.stringify(locked)}::jsonb) AS l(project_id uuid, id uuid)
    WHERE s.project_id = l.project_id AND s.id = l.id AND ${unused}
    RETURNING 1`);
  return gone.length;
}

/** Tasks that somebody could take: of one kind, or of any where that is undefined, and what they require. */
export interface DueTasks {
  projectId: string;
  kind: string | undefined;
  requirements: Requirements;
}

/** Tasks that someone waits for: of one kind, or of any where that is undefined. */
export interface AwaitedTasks {
  projectId: string;
  kind: string | undefined;
}

/** Of the awaited those of which at least one is due now, for each set of requirements that due ones have. */
export async function findDue(db: Db, awaited: readonly AwaitedTasks[]): Promise<DueTasks[]> {
  const input = awaited.map(({ projectId, kind }, place) => ({
    place,
    project_id: projectId,
    kind: kind ?? null,
  }));
  // From one set that has pending tasks to the next by the index, whatever the number of tasks.
  const sets = (kindCondition: string) =>
    `WITH RECURSIVE step AS (
      (SELECT t.requirement_set AS id FROM tasks t
       WHERE t.project_id = w.project_id AND t.state = 'pending' ${kindCondition}
       ORDER BY t.requirement_set LIMIT 1)
      UNION ALL
      SELECT (SELECT t.requirement_set FROM tasks t
        WHERE t.project_id = w.project_id AND t.state = 'pending' ${kindCondition} AND t.requirement_set > step.id
        ORDER BY t.requirement_set LIMIT 1)
      FROM step WHERE step.id IS NOT NULL
    ) SELECT step.id FROM step WHERE step.id IS NOT NULL AND EXISTS (
      SELECT 1 FROM generate_series(9, 0, -1) AS level(priority)
      CROSS JOIN LATERAL (
        SELECT 1 FROM tasks t
        WHERE t.project_id = w.project_id AND t.state = 'pending' ${kindCondition} AND t.requirement_set = step.id
          AND t.priority = level.priority AND t.due_at <= (SELECT clock_timestamp())
        LIMIT 1
      ) one)`;
  const rows = await db.execute<{
    place: number;
    capabilities: string | null;
    labels: string | null;
  }>(sql`
    SELECT w.place, s.capabilities, s.labels
    FROM jsonb_to_recordset(${JSON.stringify(input)}::jsonb) AS w(place int, project_id uuid, kind text)
    CROSS JOIN LATERAL (
      SELECT any_kind.id FROM (${sql.raw(sets(""))}) any_kind WHERE w.kind IS NULL
      UNION ALL
      SELECT one_kind.id FROM (${sql.raw(sets("AND t.kind = w.kind"))}) one_kind WHERE w.kind IS NOT NULL
    ) due
    LEFT JOIN task_requirement_sets s ON s.project_id = w.project_id AND s.id = due.id`);
  return [...rows].flatMap(({ place, capabilities, labels }) => {
    const found = awaited[place];
    return found === undefined ? [] : [{ ...found, requirements: requirementsOf(capabilities, labels) }];
  });
}

/** What tasks of priority 8 or 9 require that are due in the project, each set once. */
export async function findUrgent(db: Db, projectId: string): Promise<Requirements[]> {
  const rows = await db.execute<{ capabilities: string | null; labels: string | null }>(sql`
    WITH sets AS (
      SELECT ${NO_REQUIREMENT_SET}::uuid AS id, NULL::jsonb AS capabilities, NULL::jsonb AS labels
      UNION ALL
      SELECT id, capabilities, labels FROM task_requirement_sets WHERE project_id = ${projectId}
    )
    SELECT sets.capabilities, sets.labels FROM sets WHERE EXISTS (
      SELECT 1 FROM (VALUES (9), (8)) AS level(priority)
      CROSS JOIN LATERAL (
        SELECT 1 FROM tasks t
        WHERE t.project_id = ${projectId} AND t.state = 'pending' AND t.requirement_set = sets.id
          AND t.priority = level.priority AND t.due_at <= (SELECT clock_timestamp())
        LIMIT 1
      ) one)`);
  return [...rows].map(({ capabilities, labels }) => requirementsOf(capabilities, labels));
}

function requirementsOf(capabilities: string | null, labels: string | null): Requirements {
  // The columns hold nothing else; a set without a row requires nothing.
  return {
    capabilities: capabilities === null ? [] : (JSON.parse(capabilities) as string[]),
    labels: labels === null ? {} : (JSON.parse(labels) as Labels),
  };
}
