import { sql } from "drizzle-orm";
import { agentStates } from "../storage/schema.ts";
import type { Hearing } from "./decide-hearing.ts";

/** Intervals for which a stream may be missing: one to notice that it has ended, one to open another. */
const GRACE_INTERVALS = 2;
/** Where no server has said how often it wants to hear of agents. */
const USUAL_INTERVAL_MS = 15_000;
/** A server that says for so long that it holds streams, and no more, holds none: it died. */
const SERVER_SILENT_MS = 10_000;

const ms = (interval: string) => sql.raw(`(extract(epoch FROM ${interval}) * 1000)::float8`);

/** Of an agent's state: how the streams of its present session are; null where it opened none. */
export const hearingColumn = sql<Hearing | null>`(
  SELECT jsonb_build_object(
    'openForMs', max(${ms("moment.at - t.opened_at")}) FILTER (WHERE t.ended_at IS NULL),
    'endedAgoMs', min(${ms("moment.at - t.ended_at")}),
    'echoWaitsMs', (SELECT max(${ms("clock_timestamp() - c.created_at")}) FROM agent_commands c
      WHERE c.project_id = ${agentStates.projectId} AND c.agent_id = ${agentStates.agentId}
        AND c.acknowledged_at IS NULL AND c.kind = 'echo'),
    'graceMs', ${GRACE_INTERVALS} * (SELECT coalesce(max(interval_ms), ${USUAL_INTERVAL_MS}) FROM dictated_intervals
      WHERE counts_until > clock_timestamp()),
    'watchedMs', coalesce((SELECT ${ms("clock_timestamp() - since")} FROM liveness_watch), 0))
  FROM (SELECT clock_timestamp() AS at) moment CROSS JOIN LATERAL (
    SELECT st.opened_at, coalesce(st.ended_at, CASE
      WHEN v.kept_at > moment.at - ${SERVER_SILENT_MS} * interval '1 ms' THEN NULL
      ELSE greatest(v.kept_at, st.opened_at) END) AS ended_at
    FROM agent_streams st LEFT JOIN stream_servers v USING (server_id)
    WHERE st.project_id = ${agentStates.projectId} AND st.agent_id = ${agentStates.agentId}
      AND st.epoch = ${agentStates.epoch}) t
  HAVING count(*) > 0)`
  // As text or parsed, as the connection has it.
  .mapWith((value: string | Hearing): Hearing => (typeof value === "string" ? JSON.parse(value) : value))
  .as("hearing");
