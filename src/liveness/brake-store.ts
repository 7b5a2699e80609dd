import { sql } from "drizzle-orm";
import type { Db, Tx } from "../storage/database.ts";
import type { Brake, BrakeKind, FleetCount } from "./decide-brake.ts";

/** How the agents are looked at; ms by the database's clock. */
export interface FleetView {
  nowMs: number;
  /** Since when somebody has listened without a break. */
  sinceMs: number;
  /** After how much silence an agent counts as gone. */
  missingAfterMs: number;
}

/** For so long after it was called offline an agent that holds nothing still counts among those that vanished. */
const COUNTED_FOR_MS = 600_000;

/** The projects whose brake is engaged. */
export async function readBrakes(tx: Tx): Promise<Map<string, Brake>> {
  const rows = await tx.execute<{
    project_id: string;
    kind: "slow" | "waiting" | "stopped";
    engaged_ms: number;
    earned_from_ms: number;
  }>(sql`
    SELECT project_id, kind, (extract(epoch FROM engaged_at) * 1000)::float8 AS engaged_ms,
      (extract(epoch FROM earned_from) * 1000)::float8 AS earned_from_ms
    FROM liveness_brakes`);
  return new Map(
    [...rows].map(({ project_id, kind, engaged_ms: engagedMs, earned_from_ms: earnedFromMs }) => [
      project_id,
      kind === "slow" ? { kind, engagedMs, earnedFromMs } : { kind, engagedMs },
    ]),
  );
}

/** How one project is braked; undefined: it is not. */
export async function readBrakeKind(db: Db | Tx, projectId: string): Promise<BrakeKind | undefined> {
  const [row] = await db.execute<{ kind: BrakeKind }>(sql`
    SELECT kind FROM liveness_brakes WHERE project_id = ${projectId}`);
  return row?.kind;
}

/** Notes how a project is braked from now on. */
export async function writeBrake(tx: Tx, projectId: string, brake: Brake): Promise<void> {
  if (brake.kind === "off") {
    await tx.execute(sql`DELETE FROM liveness_brakes WHERE project_id = ${projectId}`);
    return;
  }
  const earnedFromMs = brake.kind === "slow" ? brake.earnedFromMs : brake.engagedMs;
  await tx.execute(sql`
    INSERT INTO liveness_brakes (project_id, kind, engaged_at, earned_from)
    VALUES (${projectId}, ${brake.kind}, ${instant(brake.engagedMs)}, ${instant(earnedFromMs)})
    ON CONFLICT (project_id) DO UPDATE
    SET kind = excluded.kind, engaged_at = excluded.engaged_at, earned_from = excluded.earned_from`);
}

/** Projects in which an agent that is gone holds a task that would go back by now. */
export async function findStruckProjects(tx: Tx, view: FleetView): Promise<string[]> {
  const rows = await tx.execute<{ project_id: string }>(sql`
    SELECT DISTINCT t.project_id FROM tasks t
    JOIN agent_states s ON s.project_id = t.project_id AND s.agent_id = t.agent_id
    WHERE t.state IN ('leased', 'running')
      AND (t.lease_expires_at <= (SELECT clock_timestamp()) OR t.timeout_ms IS NOT NULL)
      AND (s.liveness = 'offline' OR ${isSilent(view)})`);
  return [...rows].map((row) => row.project_id);
}

/** A project's agents that count. */
export interface CountedFleet extends FleetCount {
  project: string;
}

/**
 * Counts the agents of projects. `engagedMs` of a project whose brake is engaged: those that vanished with it count for
 * as long as it is, or the others would be let go in one burst when their ten minutes are over.
 */
export async function countFleets(
  tx: Tx,
  projects: { projectId: string; engagedMs: number | undefined }[],
  view: FleetView,
): Promise<Map<string, CountedFleet>> {
  const input = projects.map(({ projectId, engagedMs = view.nowMs }) => ({
    project_id: projectId,
    lost_after_ms: Math.min(engagedMs, view.nowMs) - COUNTED_FOR_MS,
  }));
  const rows = await tx.execute<{
    project_id: string;
    project: string;
    counted: number;
    gone: number;
    lost: number;
    holding: boolean;
  }>(sql`
    SELECT c.project_id, p.name AS project, count(*)::int AS counted,
      count(*) FILTER (WHERE c.lost OR c.silent)::int AS gone, count(*) FILTER (WHERE c.lost)::int AS lost,
      bool_or(c.holds AND (c.lost OR c.silent)) AS holding
    FROM (
      SELECT s.project_id, h.agent_id IS NOT NULL AS holds, s.liveness = 'offline' AS lost,
        coalesce(${isSilent(view)}, false) AS silent
      FROM jsonb_to_recordset(${JSON.stringify(input)}::jsonb) AS g(project_id uuid, lost_after_ms float8)
      JOIN agent_states s ON s.project_id = g.project_id
      LEFT JOIN (
        SELECT DISTINCT project_id, agent_id FROM tasks WHERE state IN ('leased', 'running')
      ) h ON h.project_id = s.project_id AND h.agent_id = s.agent_id
      WHERE h.agent_id IS NOT NULL OR s.liveness IN ('live', 'stale')
        -- Who left is offline as well and did not vanish: it was heard after it was lost, if it ever was lost.
        OR (s.liveness = 'offline' AND s.lost_at > s.last_seen_at
          AND s.lost_at > to_timestamp(g.lost_after_ms / 1000))
    ) c JOIN projects p ON p.id = c.project_id
    GROUP BY c.project_id, p.name`);
  return new Map(
    [...rows].map(({ project_id, project, counted, gone, lost, holding }) => [
      project_id,
      { project, counted, gone, lost, holding },
    ]),
  );
}

/** Of a live or stale agent `s`: not heard for longer than it should be, counted while somebody listened. */
function isSilent({ nowMs, sinceMs, missingAfterMs }: FleetView) {
  return sql`(s.liveness IN ('live', 'stale')
    AND greatest(s.last_seen_at, ${instant(sinceMs)}) <= ${instant(nowMs - missingAfterMs)})`;
}

function instant(ms: number) {
  return sql`to_timestamp(${ms}::float8 / 1000)`;
}
