import { sql } from "drizzle-orm";
import type { Db, Tx } from "../storage/database.ts";

/** Something that an agent is to do. */
export interface AgentCommand {
  /** Place in the agent's row of commands. */
  sequence: bigint;
  kind: "cancelTask";
  taskId: string | undefined;
  reason: string;
}

/** Gives the agent a command. Takes the agent's lock, so that its sequences have no gap and no twin. */
export async function insertCommand(
  tx: Tx,
  projectId: string,
  agentId: string,
  command: Omit<AgentCommand, "sequence">,
): Promise<void> {
  await tx.execute(sql`
    WITH counted AS (
      UPDATE agent_states SET command_sequence = command_sequence + 1
      WHERE project_id = ${projectId} AND agent_id = ${agentId}
      RETURNING command_sequence
    )
    INSERT INTO agent_commands (project_id, agent_id, sequence, kind, task_id, reason)
    SELECT ${projectId}::uuid, ${agentId}::uuid, command_sequence, ${command.kind}::text,
      ${command.taskId ?? null}::uuid, ${command.reason}::text
    FROM counted`);
}

/** Commands above that sequence that the agent has not acknowledged, the oldest first, at most so many. */
export async function listWaitingCommands(
  tx: Tx | Db,
  projectId: string,
  agentId: string,
  limit: number,
  above = 0n,
): Promise<AgentCommand[]> {
  const waiting = await listCommandsOf(tx, [{ projectId, agentId, sent: above }], limit);
  return waiting.get(agentId) ?? [];
}

/** Of each agent the commands above a sequence that it has not acknowledged, the oldest first, at most so many; by agent. */
export async function listCommandsOf(
  tx: Tx | Db,
  agents: readonly SentCommands[],
  limit: number,
): Promise<Map<string, AgentCommand[]>> {
  const input = agents.map(({ projectId, agentId, sent }) => ({
    project_id: projectId,
    agent_id: agentId,
    sent: String(sent),
  }));
  const rows = await tx.execute<{
    agent_id: string;
    sequence: bigint;
    kind: "cancelTask";
    task_id: string | null;
    reason: string;
  }>(sql`
    SELECT i.agent_id, c.sequence, c.kind, c.task_id, c.reason
    FROM jsonb_to_recordset(${JSON.stringify(input)}::jsonb) AS i(project_id uuid, agent_id uuid, sent bigint)
    CROSS JOIN LATERAL (
      SELECT sequence, kind, task_id, reason FROM agent_commands
      WHERE project_id = i.project_id AND agent_id = i.agent_id AND acknowledged_at IS NULL AND sequence > i.sent
      ORDER BY sequence LIMIT ${limit}
    ) c
    ORDER BY c.sequence`);
  const found = new Map<string, AgentCommand[]>();
  for (const { agent_id, sequence, kind, task_id, reason } of rows) {
    const commands = found.get(agent_id) ?? [];
    found.set(agent_id, commands);
    commands.push({ sequence, kind, taskId: task_id ?? undefined, reason });
  }
  return found;
}

/** An agent, and up to which sequence commands were sent to it. */
export interface SentCommands {
  projectId: string;
  agentId: string;
  sent: bigint;
}

/** The places in the list at which unacknowledged commands wait above what was sent. */
export async function findUnsentCommands(db: Db, agents: readonly SentCommands[]): Promise<number[]> {
  const rows = await db.execute<{ place: number }>(sql`
    SELECT (given.place - 1)::int AS place
    FROM unnest(
      ${sql.param(agents.map(({ projectId }) => projectId))}::uuid[],
      ${sql.param(agents.map(({ agentId }) => agentId))}::uuid[],
      ${sql.param(agents.map(({ sent }) => String(sent)))}::bigint[]
    ) WITH ORDINALITY AS given(project_id, agent_id, sent, place)
    JOIN agent_states USING (project_id, agent_id)
    WHERE agent_states.command_sequence > given.sent AND EXISTS (
      SELECT 1 FROM agent_commands c
      WHERE c.project_id = given.project_id AND c.agent_id = given.agent_id AND c.sequence > given.sent
        AND c.acknowledged_at IS NULL)`);
  return [...rows].map(({ place }) => place);
}

/** Notes that the agent has taken these commands; those of others and unknown ones are left alone. */
export async function acknowledgeCommands(
  tx: Tx,
  projectId: string,
  agentId: string,
  sequences: bigint[],
): Promise<void> {
  await acknowledgeAllCommands(tx, [{ projectId, agentId, sequences }]);
}

/** What an agent has taken of its commands. */
export interface TakenCommands {
  projectId: string;
  agentId: string;
  sequences: bigint[];
}

/** Notes what several agents have taken; those of others and unknown ones are left alone. */
export async function acknowledgeAllCommands(tx: Tx, taken: readonly TakenCommands[]): Promise<void> {
  const input = taken.flatMap(({ projectId, agentId, sequences }) =>
    sequences.map((sequence) => ({ project_id: projectId, agent_id: agentId, sequence: String(sequence) })),
  );
  if (input.length === 0) return;
  await tx.execute(sql`
    UPDATE agent_commands c SET acknowledged_at = clock_timestamp()
    FROM jsonb_to_recordset(${JSON.stringify(input)}::jsonb) AS i(project_id uuid, agent_id uuid, sequence bigint)
    WHERE c.project_id = i.project_id AND c.agent_id = i.agent_id AND c.sequence = i.sequence
      AND c.acknowledged_at IS NULL`);
}

/** Forgets commands taken a day ago, and those that nobody took in a month; resolves to the number forgotten. */
export async function forgetOldCommands(db: Db, batchSize: number): Promise<number> {
  const rows = await db.execute(sql`
    DELETE FROM agent_commands WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM agent_commands
      WHERE created_at < clock_timestamp() - interval '24 hours'
        AND (acknowledged_at < clock_timestamp() - interval '24 hours' OR created_at < clock_timestamp() - interval '30 days')
      LIMIT ${batchSize} FOR UPDATE SKIP LOCKED))
    RETURNING 1`);
  return rows.length;
}
