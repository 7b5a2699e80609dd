import { sql } from "drizzle-orm";
import type { Db } from "../storage/database.ts";
import type { PageRequest } from "../storage/page.ts";
import { type Moment, parseTimestamptz } from "../storage/timestamptz.ts";

/** A run of an agent's process. */
export interface SessionRecord {
  bootId: string;
  epoch: bigint;
  startedAt: Moment;
  /** The newest heartbeat while it was the newest run; undefined where none came, or nobody kept it. */
  lastHeartbeatAt: Moment | undefined;
  /** When a newer run took over; undefined for the newest. */
  supersededAt: Moment | undefined;
}

/** The runs of an agent's process on a page and one more, the newest first. */
export async function listSessions(
  db: Db,
  projectId: string,
  agentId: string,
  page: PageRequest,
): Promise<SessionRecord[]> {
  const [afterEpoch] = page.after ?? [];
  const behind = afterEpoch === undefined ? sql`` : sql`AND r.epoch < ${afterEpoch}::bigint`;
  const rows = await db.execute<{
    boot_id: string;
    epoch: bigint;
    started_at: string;
    last_heartbeat_at: string | null;
    superseded_at: string | null;
  }>(sql`
    SELECT r.boot_id, r.epoch, r.started_at, next.started_at AS superseded_at,
      -- What is older was heard of the run before: this one has said hello and no more.
      CASE WHEN heard.at >= r.started_at THEN heard.at END AS last_heartbeat_at
    FROM agent_sessions r
      JOIN agent_states s ON s.project_id = r.project_id AND s.agent_id = r.agent_id
      LEFT JOIN LATERAL (
        SELECT n.started_at, n.heard_before_at FROM agent_sessions n
        WHERE n.project_id = r.project_id AND n.agent_id = r.agent_id AND n.epoch > r.epoch
        ORDER BY n.epoch LIMIT 1) next ON true
      CROSS JOIN LATERAL (
        SELECT CASE WHEN next.started_at IS NULL THEN s.last_seen_at ELSE next.heard_before_at END AS at) heard
    WHERE r.project_id = ${projectId} AND r.agent_id = ${agentId} ${behind}
    ORDER BY r.epoch DESC LIMIT ${page.size + 1}`);
  return [...rows].map((row) => ({
    bootId: row.boot_id,
    epoch: row.epoch,
    startedAt: parseTimestamptz(row.started_at),
    lastHeartbeatAt: momentOf(row.last_heartbeat_at),
    supersededAt: momentOf(row.superseded_at),
  }));
}

function momentOf(text: string | null): Moment | undefined {
  return text === null ? undefined : parseTimestamptz(text);
}
