import { sql } from "drizzle-orm";
import type { Db, Tx } from "../storage/database.ts";
import type {
  AgentCommand,
  Command,
  CommandedAgent,
  CommandKind,
  SentCommands,
  TakenCommands,
} from "./command.ts";

/** One command for one agent. */
export type NewCommand = CommandedAgent & Command;

/**
 * Gives agents commands, each agent's in the order of the list, and resolves to the sequences in the order of the list;
 * undefined for an agent that was removed. Takes the agents' locks, so that sequences have no gap and no twin: where
 * they are several agents, the caller has locked them before, in the order of ids.
 */
export async function insertCommands(
  tx: Tx,
  commands: readonly NewCommand[],
): Promise<(bigint | undefined)[]> {
  if (commands.length === 0) return [];
  const input = commands.map(({ projectId, agentId, kind, taskId, reason, withinMs }, place) => ({
    place,
    project_id: projectId,
    agent_id: agentId,
    kind,
    task_id: taskId ?? null,
    reason,
    within_ms: withinMs ?? null,
  }));
  const rows = await tx.execute<{ place: number; sequence: bigint }>(sql`
    WITH given AS MATERIALIZED (
      SELECT *, row_number() OVER (PARTITION BY project_id, agent_id ORDER BY place) AS number
      FROM jsonb_to_recordset(${JSON.stringify(input)}::jsonb)
        AS i(place int, project_id uuid, agent_id uuid, kind text, task_id uuid, reason text,
          within_ms float8)
    ), counted AS (
      UPDATE agent_states s SET command_sequence = s.command_sequence + n.many
      FROM (SELECT project_id, agent_id, count(*) AS many FROM given GROUP BY project_id, agent_id) n
      WHERE s.project_id = n.project_id AND s.agent_id = n.agent_id
      RETURNING s.project_id, s.agent_id, s.command_sequence - n.many AS before
    ), numbered AS (
      SELECT given.*, counted.before + given.number AS sequence FROM given JOIN counted USING (project_id, agent_id)
    ), inserted AS (
      INSERT INTO agent_commands (project_id, agent_id, sequence, kind, task_id, reason, deadline_at)
      SELECT project_id, agent_id, sequence, kind, task_id, reason, clock_timestamp() + within_ms * interval '1 ms'
      FROM numbered
    )
    SELECT place, sequence FROM numbered`);
  const sequences = new Map([...rows].map(({ place, sequence }) => [place, sequence]));
  return commands.map((_, place) => sequences.get(place));
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
    kind: CommandKind;
    task_id: string | null;
    reason: string;
    within_ms: number | null;
  }>(sql`
    SELECT i.agent_id, c.sequence, c.kind, c.task_id, c.reason,
      -- Without a deadline there is nothing left to tell: greatest() alone would make 0 of it.
      CASE WHEN c.deadline_at IS NOT NULL THEN
        greatest(0, floor(extract(epoch FROM c.deadline_at - clock_timestamp()) * 1000))::float8
      END AS within_ms
    FROM jsonb_to_recordset(${JSON.stringify(input)}::jsonb) AS i(project_id uuid, agent_id uuid, sent bigint)
    CROSS JOIN LATERAL (
      SELECT sequence, kind, task_id, reason, deadline_at FROM agent_commands
      WHERE project_id = i.project_id AND agent_id = i.agent_id AND acknowledged_at IS NULL AND sequence > i.sent
      ORDER BY sequence LIMIT ${limit}
    ) c
    ORDER BY c.sequence`);
  const found = new Map<string, AgentCommand[]>();
  for (const { agent_id, sequence, kind, task_id, reason, within_ms } of rows) {
    const commands = found.get(agent_id) ?? [];
    found.set(agent_id, commands);
    const within = within_ms === null ? {} : { withinMs: within_ms };
    commands.push({ sequence, kind, taskId: task_id ?? undefined, reason, ...within });
  }
  return found;
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

/** Notes what agents have taken; those of others and unknown ones are left alone. */
export async function acknowledgeCommands(tx: Tx, taken: readonly TakenCommands[]): Promise<void> {
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
