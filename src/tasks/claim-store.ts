import { sql } from "drizzle-orm";
import type { Tx } from "../storage/database.ts";
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

export interface ClaimWish {
  projectId: string;
  agentId: string;
  offer: Offer;
  /** Empty: any kind. */
  kinds: string[];
  max: number;
  leaseMs: number;
  /** The answer ends before it has so many bytes; one task is always in it. */
  capBytes: number;
}

/**
 * Lends due tasks whose requirements the agent meets, of the highest priority first and of these the ones due longest: one statement that locks them, lends
 * them and begins their attempts. Skips what another claim has locked, so that no task goes to two. The agent's row must
 * be locked, FOR SHARE at least.
 */
export async function claimDue(tx: Tx, wish: ClaimWish): Promise<TaskRecord[]> {
  const { projectId, agentId, kinds, max, offer } = wish;
  const look = lookFor(max);
  // Candidates are looked up and locked one by one, in their order, until there are enough. Where the statistics know of
  // no pending tasks yet, PostgreSQL would rather read all of them than look one up by its id: a comparison of states that
  // no index matches leaves it no choice, and below the project that comes with each row.
  // Level by level, so that each is a range of an index which ends at the clock: tasks that wait for a later moment,
  // however many, are not read. The loop goes through the levels in their order.
  const rows = await tx.execute<TaskRow>(sql`
    WITH met AS MATERIALIZED (
      SELECT ${NO_REQUIREMENT_SET}::uuid AS id
      UNION ALL
      SELECT id FROM task_requirement_sets
      WHERE project_id = ${projectId} AND capabilities <@ ${JSON.stringify(offer.capabilities)}::jsonb
        AND labels <@ ${JSON.stringify(offer.labels)}::jsonb
    ), candidates AS MATERIALIZED (
      SELECT due.id, level.priority, due.due_at
      FROM generate_series(9, 0, -1) AS level(priority)
      CROSS JOIN LATERAL (${kinds.length === 0 ? dueOfAnyKind(projectId, look) : dueOfKinds(projectId, kinds, look)}) due
      LIMIT ${look}
    ), locked AS MATERIALIZED (
      SELECT free.project_id, free.id, c.priority, c.due_at, free.bytes
      FROM candidates c CROSS JOIN LATERAL (
        SELECT t.project_id, t.id, ${taskBytes} AS bytes FROM tasks t
        WHERE t.project_id = ${projectId} AND t.id = c.id AND t.state || '' = 'pending' AND t.due_at <= clock_timestamp()
        FOR UPDATE SKIP LOCKED
      ) free
      LIMIT ${max}
    ), sized AS (
      SELECT project_id, id, row_number() OVER places AS place, sum(bytes) OVER places AS total
      FROM locked WINDOW places AS (ORDER BY priority DESC, due_at, id)
    ), lent AS (
      UPDATE tasks t
      SET state = 'leased', agent_id = ${agentId}, attempt = t.attempt + 1, lease_epoch = t.lease_epoch + 1,
        leased_at = moment.at, lease_expires_at = moment.at + ${wish.leaseMs} * interval '1 ms', started_at = NULL,
        progress = 0, detail = '', error_message = NULL, error_context = NULL, error_bytes = 0
      FROM sized s, (SELECT clock_timestamp() AS at) moment
      WHERE t.project_id = s.project_id AND t.id = s.id AND (s.place = 1 OR s.total <= ${wish.capBytes})
      RETURNING t.*, s.place
    ), begun AS (
      INSERT INTO task_attempts (project_id, task_id, lease_epoch, number, agent_id, began_at)
      SELECT project_id, id, lease_epoch, attempt, agent_id, leased_at FROM lent
    )
    SELECT ${recordColumns} FROM lent t ${withAgentName} ORDER BY t.place`);
  // The whole lease: it began after the call, and the agent counts from before the call.
  return [...rows].map((row) => ({ ...taskOfRow(row), remainingMs: wish.leaseMs }));
}

// The clock as a subquery: a bare call is asked anew for every row, and no index can be read up to it.
function dueOfAnyKind(projectId: string, look: number) {
  return sql`
    SELECT oldest.id, oldest.due_at
    FROM met
    CROSS JOIN LATERAL (
      SELECT id, due_at FROM tasks
      WHERE project_id = ${projectId} AND state = 'pending' AND requirement_set = met.id
        AND priority = level.priority AND due_at <= (SELECT clock_timestamp())
      ORDER BY due_at, id LIMIT ${look}
    ) oldest
    ORDER BY oldest.due_at, oldest.id LIMIT ${look}`;
}

function dueOfKinds(projectId: string, kinds: string[], look: number) {
  return sql`
    SELECT oldest.id, oldest.due_at
    FROM unnest(${sql.param(kinds)}::text[]) AS wanted(kind)
    CROSS JOIN met
    CROSS JOIN LATERAL (
      SELECT id, due_at FROM tasks
      WHERE project_id = ${projectId} AND kind = wanted.kind AND state = 'pending' AND requirement_set = met.id
        AND priority = level.priority AND due_at <= (SELECT clock_timestamp())
      ORDER BY due_at, id LIMIT ${look}
    ) oldest
    ORDER BY oldest.due_at, oldest.id LIMIT ${look}`;
}
