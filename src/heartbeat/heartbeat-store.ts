import { and, eq, sql } from "drizzle-orm";
import type { Db, Tx } from "../storage/database.ts";
import { agentSessions, heartbeatEffects } from "../storage/schema.ts";

/** The epoch that a boot_id was given; undefined for a process that is new. */
export async function findSessionEpoch(
  tx: Tx,
  projectId: string,
  agentId: string,
  bootId: string,
): Promise<bigint | undefined> {
  const [row] = await tx
    .select({ epoch: agentSessions.epoch })
    .from(agentSessions)
    .where(
      and(
        eq(agentSessions.projectId, projectId),
        eq(agentSessions.agentId, agentId),
        eq(agentSessions.bootId, bootId),
      ),
    );
  return row?.epoch;
}

export async function insertSession(
  tx: Tx,
  session: { projectId: string; agentId: string; bootId: string; epoch: bigint },
): Promise<void> {
  await tx.insert(agentSessions).values(session);
}

/** One heartbeat of one run of an agent's process. */
export interface HeartbeatKey {
  projectId: string;
  agentId: string;
  epoch: bigint;
  sequence: bigint;
}

export async function findEffect(tx: Tx, key: HeartbeatKey): Promise<unknown> {
  const [row] = await tx
    .select({ effect: heartbeatEffects.effect })
    .from(heartbeatEffects)
    .where(
      and(
        eq(heartbeatEffects.projectId, key.projectId),
        eq(heartbeatEffects.agentId, key.agentId),
        eq(heartbeatEffects.epoch, key.epoch),
        eq(heartbeatEffects.sequence, key.sequence),
      ),
    );
  return row?.effect;
}

export async function insertEffect(tx: Tx, key: HeartbeatKey, effect: unknown): Promise<void> {
  await tx.insert(heartbeatEffects).values({ ...key, effect });
}

/** Forgets what heartbeats did more than 24 hours ago, a batch at a time; resolves to the number forgotten. */
export async function forgetOldEffects(db: Db, batchSize: number): Promise<number> {
  const rows = await db.execute(sql`
    DELETE FROM heartbeat_effects WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM heartbeat_effects WHERE recorded_at < clock_timestamp() - interval '24 hours'
      LIMIT ${batchSize} FOR UPDATE SKIP LOCKED))
    RETURNING 1`);
  return rows.length;
}

/** A session as a stream knows it; `epoch` was the agent's newest when it began. */
export interface OpenSession {
  projectId: string;
  agentId: string;
  epoch: bigint;
}

/** The places in the list of those sessions whose agent has begun a newer one. */
export async function findSuperseded(db: Db, sessions: readonly OpenSession[]): Promise<number[]> {
  const rows = await db.execute<{ place: number }>(sql`
    SELECT (given.place - 1)::int AS place
    FROM unnest(
      ${sql.param(sessions.map(({ projectId }) => projectId))}::uuid[],
      ${sql.param(sessions.map(({ agentId }) => agentId))}::uuid[],
      ${sql.param(sessions.map(({ epoch }) => String(epoch)))}::bigint[]
    ) WITH ORDINALITY AS given(project_id, agent_id, epoch, place)
    JOIN agent_states USING (project_id, agent_id)
    WHERE agent_states.epoch > given.epoch`);
  return rows.map(({ place }) => place);
}
