import { sql } from "drizzle-orm";
import type { PackedJson } from "../runtime/json-value.ts";
import type { Tx } from "../storage/database.ts";
import type { LoanKey } from "./loan-store.ts";
import { recordColumns, type TaskRecord, type TaskRow, taskOfRow, withAgentName } from "./task-store.ts";

/** A task's end by the result of whoever has it on loan. */
export interface Completion {
  key: LoanKey;
  result: PackedJson | undefined;
}

/** What a completion made of its task; `from` is the task's state before. */
export interface Completed {
  task: TaskRecord;
  from: "leased" | "running";
}

/**
 * Ends tasks of many agents by one statement, agents locked before tasks. Answers by the place of each completion; what
 * is missing was not touched: the loan is over, its agent is in error or gone, somebody else has the agent or the task
 * locked, or the task's message has more than `capBytes`. No task may be there twice.
 */
export async function completeLoans(
  tx: Tx,
  completions: readonly Completion[],
  capBytes: number,
): Promise<Map<number, Completed>> {
  const column = <T>(read: (completion: Completion) => T) => sql.param(completions.map(read));
  // Sorting takes all of its input before the first row is locked: no task is, until all agents are.
  const rows = await tx.execute<TaskRow & { place: string; state_before: "leased" | "running" }>(sql`
    WITH wanted AS MATERIALIZED (
      SELECT * FROM unnest(
        ${column(({ key }) => key.projectId)}::uuid[], ${column(({ key }) => key.agentId)}::uuid[],
        ${column(({ key }) => key.taskId)}::uuid[], ${column(({ key }) => String(key.leaseEpoch))}::bigint[],
        ${column(({ result }) => result?.text ?? null)}::text[], ${column(({ result }) => result?.bytes ?? 0)}::int[]
      ) WITH ORDINALITY AS w(project_id, agent_id, task_id, lease_epoch, result, result_bytes, place)
    ), agent AS MATERIALIZED (
      SELECT s.project_id, s.agent_id FROM agent_states s
      WHERE (s.project_id, s.agent_id) IN (SELECT project_id, agent_id FROM wanted) AND s.status <> 'error'
      ORDER BY s.project_id, s.agent_id FOR SHARE SKIP LOCKED
    ), held AS MATERIALIZED (
      SELECT t.project_id, t.id, t.agent_id, t.state, w.result, w.result_bytes, w.place
      FROM wanted w
      JOIN agent USING (project_id, agent_id)
      JOIN tasks t ON t.project_id = w.project_id AND t.id = w.task_id
      WHERE t.agent_id = w.agent_id AND t.lease_epoch = w.lease_epoch AND t.state IN ('leased', 'running')
        AND t.payload_bytes <= ${capBytes}
      ORDER BY t.project_id, t.id FOR UPDATE OF t SKIP LOCKED
    ), done AS (
      UPDATE tasks t
      SET state = 'succeeded', result = held.result::json, result_bytes = held.result_bytes, checkpoint = NULL,
        checkpoint_bytes = 0, progress = 1, finished_at = clock_timestamp(), lease_expires_at = NULL
      FROM held WHERE t.project_id = held.project_id AND t.id = held.id
      RETURNING t.*, held.state AS state_before, held.place
    ), ended AS (
      UPDATE task_attempts a SET ended_at = done.finished_at, outcome = 'succeeded' FROM done
      WHERE a.project_id = done.project_id AND a.task_id = done.id AND a.lease_epoch = done.lease_epoch
        AND a.ended_at IS NULL
    ), proven AS (
      DELETE FROM agent_failures f USING held WHERE f.project_id = held.project_id AND f.agent_id = held.agent_id
    )
    SELECT ${recordColumns}, t.state_before, t.place FROM done t ${withAgentName}`);
  // Places begin at 1.
  return new Map(
    [...rows].map((row) => [Number(row.place) - 1, { task: taskOfRow(row), from: row.state_before }]),
  );
}
