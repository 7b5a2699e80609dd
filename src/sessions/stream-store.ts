import { sql } from "drizzle-orm";
import type { Db } from "../storage/database.ts";

/** A stream of commands as it is to be noted. */
export interface StreamNote {
  projectId: string;
  agentId: string;
  id: string;
  /** Of the session that opened it; undefined: whichever the agent has. */
  epoch: bigint | undefined;
  ended: boolean;
}

/** Servers that held streams are forgotten after so many ms of silence. */
const FORGET_SERVER_MS = 86_400_000;

/** Says that the server holds streams, or did until now. */
export async function keepStreamServer(db: Db, serverId: string): Promise<void> {
  await db.execute(sql`
    INSERT INTO stream_servers (server_id) VALUES (${serverId})
    ON CONFLICT (server_id) DO UPDATE SET kept_at = clock_timestamp()`);
}

export async function forgetStreamServers(db: Db): Promise<void> {
  await db.execute(sql`
    DELETE FROM stream_servers WHERE kept_at < clock_timestamp() - ${FORGET_SERVER_MS} * interval '1 ms'`);
}

/**
 * Notes streams that were opened or have ended. Of an agent that opens one, what ended before is forgotten; one that is
 * gone is left out.
 */
export async function noteStreams(db: Db, serverId: string, notes: readonly StreamNote[]): Promise<void> {
  const input = notes.map(({ projectId, agentId, id, epoch, ended }) => ({
    project_id: projectId,
    agent_id: agentId,
    id,
    epoch: epoch === undefined ? null : String(epoch),
    ended,
  }));
  const given = sql`jsonb_to_recordset(${JSON.stringify(input)}::jsonb)
    AS i(project_id uuid, agent_id uuid, id uuid, epoch bigint, ended boolean)`;
  await db.execute(sql`
    DELETE FROM agent_streams t USING ${given}
    WHERE t.project_id = i.project_id AND t.agent_id = i.agent_id AND t.id <> i.id AND NOT i.ended
      AND (t.ended_at IS NOT NULL OR NOT EXISTS (SELECT 1 FROM stream_servers v
        WHERE v.server_id = t.server_id AND v.kept_at > clock_timestamp() - interval '1 minute'))`);
  await db.execute(sql`
    INSERT INTO agent_streams (project_id, agent_id, id, server_id, epoch, ended_at)
    SELECT i.project_id, i.agent_id, i.id, ${serverId}, coalesce(i.epoch, s.epoch),
      CASE WHEN i.ended THEN clock_timestamp() END
    FROM ${given} JOIN agent_states s ON s.project_id = i.project_id AND s.agent_id = i.agent_id
    ON CONFLICT (project_id, agent_id, id) DO UPDATE SET ended_at = excluded.ended_at`);
}
