import { type SQL, sql } from "drizzle-orm";
import type { AgentStatus } from "../agents/agent.ts";
import type { CordonState } from "../agents/decide-cordon.ts";
import type { Tx } from "../storage/database.ts";
import type { Labels } from "../storage/schema.ts";
import type { Holder, LoanKey } from "./loan-store.ts";
import type { Offer } from "./match-task.ts";
import { NO_REQUIREMENT_SET } from "./requirement-store.ts";
import {
  recordColumns,
  type TaskRecord,
  type TaskRow,
  taskBytes,
  taskOfRow,
  withAgentName,
} from "./task-store.ts";

/**
 * How many candidates to look at: claims at the same moment see the same head of the queue and skip what another one has
 * locked. Ten of one size leave something for one more.
 */
const lookFor = (max: number): number => 64 + 10 * max;

/** An agent that would like tasks, as its lock shows it. */
export interface Taker {
  status: AgentStatus;
  cordon: CordonState;
  offer: Offer;
  /** Ids of the requirement sets that it meets, but for the one without a requirement. */
  sets: string[];
}

/**
 * Keeps agents as they are until the transaction ends, as shareTaker does, and reads what they have to offer; by their
 * ids. Those that somebody has locked, or changes at this very moment, are left out, and so are those that are gone.
 */
export async function shareTakers(tx: Tx, agents: readonly Holder[]): Promise<Map<string, Taker>> {
  const rows = await tx.execute<{
    agent_id: string;
    status: AgentStatus;
    cordon: CordonState;
    capabilities: string;
    labels: string;
    sets: string;
  }>(sql`
    WITH locked AS MATERIALIZED (
      SELECT s.project_id, s.agent_id, s.status, s.cordon, s.xmin AS version_of_row FROM agent_states s
      WHERE (s.project_id, s.agent_id) IN (SELECT * FROM unnest(
        ${sql.param(agents.map(({ projectId }) => projectId))}::uuid[],
        ${sql.param(agents.map(({ agentId }) => agentId))}::uuid[]))
      ORDER BY s.project_id, s.agent_id FOR SHARE SKIP LOCKED
    ), taker AS MATERIALIZED (
      -- A lock shows the newest row, everything else the rows as they were when the statement began: of one that was
      -- written between the two, what the agent offers may be older than its status.
      SELECT l.*, a.capabilities, a.labels FROM locked l
      JOIN agent_states s ON s.project_id = l.project_id AND s.agent_id = l.agent_id AND s.xmin = l.version_of_row
      JOIN agents a ON a.project_id = l.project_id AND a.id = l.agent_id
    ), offer AS MATERIALIZED (
      SELECT o.*, to_json(ARRAY(
        SELECT r.id FROM task_requirement_sets r
        WHERE r.project_id = o.project_id AND r.capabilities <@ o.capabilities AND r.labels <@ o.labels ORDER BY r.id
      ))::text AS sets
      FROM (SELECT DISTINCT project_id, capabilities, labels FROM taker) o
    )
    SELECT agent_id, status, cordon, capabilities, labels, sets FROM taker JOIN offer USING (project_id, capabilities, labels)`);
  return new Map(
    [...rows].map(({ agent_id, status, cordon, capabilities, labels, sets }) => [
      agent_id,
      {
        status,
        cordon,
        // The columns hold nothing else.
        offer: { capabilities: JSON.parse(capabilities) as string[], labels: JSON.parse(labels) as Labels },
        sets: JSON.parse(sets) as string[],
      },
    ]),
  );
}

/** Which tasks are wanted. */
export interface DueWish {
  projectId: string;
  /** Empty: any kind. */
  kinds: readonly string[];
  /** Of these requirement sets, and of the one without a requirement. */
  sets: readonly string[];
  max: number;
  /** Not these, which the transaction has locked for others. */
  except: readonly string[];
}

/** A task that the transaction has locked, as its next loan would be. */
export interface LockedDue {
  taskId: string;
  kind: string;
  leaseEpoch: bigint;
  bytes: number;
}

/**
 * Locks due tasks, of the highest priority first and of these the ones due longest; they come in this order. Skips what
 * another claim has locked, so that no task goes to two.
 */
export async function lockDue(tx: Tx, wish: DueWish): Promise<LockedDue[]> {
  const { projectId, kinds, sets, max, except } = wish;
  const look = lookFor(max + except.length);
  // Candidates are looked up and locked one by one, in their order, until there are enough. Where the statistics know of
  // no pending tasks yet, PostgreSQL would rather read all of them than look one up by its id: a comparison of states that
  // no index matches leaves it no choice.
  // Level by level, so that each is a range of an index which ends at the clock: tasks that wait for a later moment,
  // however many, are not read. The loop goes through the levels in their order.
  const rows = await tx.execute<{ id: string; kind: string; lease_epoch: bigint; bytes: number }>(sql`
    WITH candidates AS MATERIALIZED (
      SELECT due.id, level.priority, due.due_at
      FROM generate_series(9, 0, -1) AS level(priority)
      CROSS JOIN LATERAL (
        SELECT oldest.id, oldest.due_at
        FROM unnest(${sql.param([NO_REQUIREMENT_SET, ...sets])}::uuid[]) AS met(id) ${kinds.length === 0 ? dueOfAnyKind(projectId, look) : dueOfKinds(projectId, kinds, look)} oldest
        ORDER BY oldest.due_at, oldest.id LIMIT ${look}
      ) due
      LIMIT ${look}
    ), locked AS MATERIALIZED (
      SELECT free.*, c.priority, c.due_at
      FROM candidates c CROSS JOIN LATERAL (
        SELECT t.id, t.kind, t.lease_epoch + 1 AS lease_epoch, ${taskBytes} AS bytes FROM tasks t
        WHERE t.project_id = ${projectId} AND t.id = c.id AND t.state || '' = 'pending' AND t.due_at <= clock_timestamp()
          AND t.id <> ALL (${sql.param([...except])}::uuid[])
        FOR UPDATE SKIP LOCKED
      ) free
      LIMIT ${max}
    )
    SELECT id, kind, lease_epoch, bytes FROM locked ORDER BY priority DESC, due_at, id`);
  return [...rows].map((row) => ({
    taskId: row.id,
    kind: row.kind,
    leaseEpoch: row.lease_epoch,
    bytes: row.bytes,
  }));
}

// The clock as a subquery: a bare call is asked anew for every row, and no index can be read up to it.
function dueOfAnyKind(projectId: string, look: number): SQL {
  return sql`
    CROSS JOIN LATERAL (
      SELECT id, due_at FROM tasks
      WHERE project_id = ${projectId} AND state = 'pending' AND requirement_set = met.id
        AND priority = level.priority AND due_at <= (SELECT clock_timestamp())
      ORDER BY due_at, id LIMIT ${look}
    )`;
}

function dueOfKinds(projectId: string, kinds: readonly string[], look: number): SQL {
  return sql`
    CROSS JOIN unnest(${sql.param([...kinds])}::text[]) AS wanted(kind)
    CROSS JOIN LATERAL (
      SELECT id, due_at FROM tasks
      WHERE project_id = ${projectId} AND kind = wanted.kind AND state = 'pending' AND requirement_set = met.id
        AND priority = level.priority AND due_at <= (SELECT clock_timestamp())
      ORDER BY due_at, id LIMIT ${look}
    )`;
}

/**
 * Lends locked tasks and begins their attempts, all by one statement with what records it (a part of its WITH); resolves
 * to the tasks by their ids. The agents' rows must be locked, FOR SHARE at least.
 */
export async function lendTasks(
  tx: Tx,
  loans: readonly LoanKey[],
  leaseMs: number,
  recording: SQL,
): Promise<Map<string, TaskRecord>> {
  const column = (read: (loan: LoanKey) => string) => sql.param(loans.map(read));
  const rows = await tx.execute<TaskRow>(sql`
    WITH ${recording}, dealt AS MATERIALIZED (
      SELECT * FROM unnest(${column(({ projectId }) => projectId)}::uuid[], ${column(({ taskId }) => taskId)}::uuid[],
        ${column(({ agentId }) => agentId)}::uuid[]) AS d(project_id, id, agent_id)
    ), moment AS MATERIALIZED (
      SELECT clock_timestamp() AS at
    ), lent AS (
      UPDATE tasks t
      SET state = 'leased', agent_id = dealt.agent_id, attempt = t.attempt + 1, lease_epoch = t.lease_epoch + 1,
        leased_at = moment.at, lease_expires_at = moment.at + ${leaseMs} * interval '1 ms', started_at = NULL,
        progress = 0, detail = '', error_message = NULL, error_context = NULL, error_bytes = 0
      FROM dealt, moment
      WHERE t.project_id = dealt.project_id AND t.id = dealt.id
      RETURNING t.*
    ), begun AS (
      INSERT INTO task_attempts (project_id, task_id, lease_epoch, number, agent_id, began_at)
      SELECT project_id, id, lease_epoch, attempt, agent_id, leased_at FROM lent
    )
    SELECT ${recordColumns} FROM lent t ${withAgentName}`);
  // The whole lease: it began after the call, and the agent counts from before the call.
  return new Map([...rows].map((row) => [row.id, { ...taskOfRow(row), remainingMs: leaseMs }]));
}
