import { sql } from "drizzle-orm";
import type { PackedJson } from "../runtime/json-value.ts";
import type { Db, Tx } from "../storage/database.ts";
import type { PageRequest } from "../storage/page.ts";
import type { JsonObject } from "../storage/schema.ts";
import { type Moment, parseTimestamptz } from "../storage/timestamptz.ts";
import type { EndOfAttempt } from "./decide-task.ts";
import type { Holder, LoanKey, LockedLoan } from "./loan-store.ts";
import type { AttemptOutcome } from "./task.ts";
import { errorOf } from "./task-store.ts";

/** Why an attempt ended, scrubbed. */
export interface AttemptError {
  message: string;
  context: JsonObject | undefined;
}

/** An attempt to be ended, whose task the transaction has locked. */
export interface AttemptEnd {
  loan: LockedLoan;
  decision: EndOfAttempt;
  error: AttemptError | undefined;
}

/** Writes the ends of attempts and what their tasks are afterwards, all in one statement. */
export async function writeAttemptEnds(tx: Tx, ends: AttemptEnd[]): Promise<void> {
  const input = ends.map(({ loan, decision: { outcome, after, tookDown = false }, error }) => ({
    project_id: loan.projectId,
    task_id: loan.taskId,
    epoch: String(loan.leaseEpoch),
    outcome,
    state: after.state,
    retries: after.retries,
    losses: after.losses,
    delay_ms: after.state === "pending" ? (after.delayMs ?? null) : null,
    took_down: tookDown,
    message: error?.message ?? null,
    context: error?.context ?? null,
    error_bytes: error === undefined ? 0 : Buffer.byteLength(JSON.stringify(error)),
  }));
  // Without a delay a task takes its old place among those that wait, which is by its age.
  const rows = await tx.execute(sql`
    WITH input AS MATERIALIZED (
      SELECT * FROM jsonb_to_recordset(${JSON.stringify(input)}::jsonb) AS i(project_id uuid, task_id uuid, epoch bigint,
        outcome text, state text, retries int, losses int, delay_ms float8, took_down boolean, message text, context jsonb, error_bytes int)
    ), moved AS (
      UPDATE tasks t
      SET state = i.state, retries = i.retries, losses = i.losses, error_message = i.message, error_context = i.context,
        error_bytes = i.error_bytes, lease_expires_at = NULL,
        due_at = CASE WHEN i.state = 'pending' THEN
          CASE WHEN i.delay_ms IS NULL THEN greatest(t.created_at, t.not_before) ELSE moment.at + i.delay_ms * interval '1 ms' END
          ELSE t.due_at END,
        finished_at = CASE WHEN i.state = 'pending' THEN NULL ELSE moment.at END
      FROM input i, (SELECT clock_timestamp() AS at) moment
      WHERE t.project_id = i.project_id AND t.id = i.task_id AND t.lease_epoch = i.epoch
        AND t.state IN ('leased', 'running')
      RETURNING i.project_id, i.task_id, i.epoch, i.outcome, i.message, i.context, i.took_down, moment.at, t.agent_id
    ), ended AS (
      UPDATE task_attempts a
      SET ended_at = m.at, outcome = m.outcome, error_message = m.message, error_context = m.context,
        took_down = m.took_down
      FROM moved m
      WHERE a.project_id = m.project_id AND a.task_id = m.task_id AND a.lease_epoch = m.epoch AND a.ended_at IS NULL
    ), blamed AS (
      INSERT INTO agent_failures (project_id, agent_id, task_id)
      SELECT project_id, agent_id, task_id FROM moved WHERE outcome IN ('failed', 'timed_out')
      ON CONFLICT DO NOTHING
    )
    SELECT 1 FROM moved`);
  if (rows.length !== ends.length)
    throw new Error(`of ${ends.length} locked tasks ${rows.length} could be written`);
}

/** Those of the agents that get work and have failed at least so many different tasks since their newest success. */
export async function findBlamed(
  tx: Tx,
  agents: readonly Holder[],
  most: number,
): Promise<(Holder & { failures: number })[]> {
  if (agents.length === 0) return [];
  const rows = await tx.execute<{ project_id: string; agent_id: string; failures: number }>(sql`
    SELECT s.project_id, s.agent_id, f.failures
    FROM unnest(${sql.param(agents.map(({ projectId }) => projectId))}::uuid[],
      ${sql.param(agents.map(({ agentId }) => agentId))}::uuid[]) AS k(project_id, agent_id)
    JOIN agent_states s USING (project_id, agent_id)
    CROSS JOIN LATERAL (SELECT count(*)::int AS failures FROM agent_failures f
      WHERE f.project_id = s.project_id AND f.agent_id = s.agent_id) f
    WHERE s.cordon = 'none' AND f.failures >= ${most}
    ORDER BY s.project_id, s.agent_id`);
  return [...rows].map((row) => ({
    projectId: row.project_id,
    agentId: row.agent_id,
    failures: row.failures,
  }));
}

/** What an agent has had to do with a task. */
export interface LoanHistory {
  /** It held the task once, under whatever epoch. */
  held: boolean;
  /** How its attempt under this epoch ended; undefined where it did not, or was never its own. */
  outcome: AttemptOutcome | undefined;
}

export async function readLoanHistory(tx: Tx, loan: LoanKey): Promise<LoanHistory> {
  const rows = await tx.execute<{ lease_epoch: bigint; outcome: AttemptOutcome | null }>(sql`
    SELECT lease_epoch, outcome FROM task_attempts
    WHERE project_id = ${loan.projectId} AND task_id = ${loan.taskId} AND agent_id = ${loan.agentId}`);
  const own = rows.find((row) => row.lease_epoch === loan.leaseEpoch);
  return { held: rows.length > 0, outcome: own?.outcome ?? undefined };
}

/** A result that is refused and kept to be seen. */
export type RefusedResult =
  | { kind: "complete"; result: PackedJson | undefined }
  | { kind: "fail"; error: AttemptError };

/** Keeps a refused result, once however often it comes, and the newest `most` of its task. */
export async function keepStaleResult(
  tx: Tx,
  loan: LoanKey,
  refused: RefusedResult,
  most: number,
): Promise<void> {
  const { projectId, taskId } = loan;
  const result = refused.kind === "complete" ? refused.result : undefined;
  const error = refused.kind === "fail" ? refused.error : undefined;
  const bytes = result?.bytes ?? Buffer.byteLength(JSON.stringify(error ?? null));
  await tx.execute(sql`
    INSERT INTO task_stale_results (project_id, task_id, agent_id, lease_epoch, kind, result, error_message,
      error_context, bytes)
    VALUES (${projectId}, ${taskId}, ${loan.agentId}, ${String(loan.leaseEpoch)}::bigint, ${refused.kind},
      ${result?.text ?? null}::json, ${error?.message ?? null},
      ${error?.context === undefined ? null : JSON.stringify(error.context)}::jsonb, ${bytes})
    ON CONFLICT DO NOTHING`);
  await tx.execute(sql`
    DELETE FROM task_stale_results WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM task_stale_results WHERE project_id = ${projectId} AND task_id = ${taskId}
      ORDER BY created_at DESC OFFSET ${most}))`);
}

export interface StaleResultRecord {
  agentName: string;
  leaseEpoch: bigint;
  kind: "complete" | "fail";
  /** Text of its JSON; undefined also where it did not fit any more. */
  result: string | undefined;
  error: AttemptError | undefined;
  time: Moment;
}

/** Refused results of a task, the newest first; bodies beyond so many bytes are left out. */
export async function listStaleResults(
  db: Db | Tx,
  projectId: string,
  taskId: string,
  capBytes: number,
): Promise<StaleResultRecord[]> {
  const rows = await db.execute<{
    agent_name: string;
    lease_epoch: bigint;
    kind: "complete" | "fail";
    result: string | null;
    error_message: string | null;
    error_context: string | null;
    created_at: string;
  }>(sql`
    SELECT a.name AS agent_name, s.lease_epoch, s.kind, s.created_at, s.error_message,
      CASE WHEN sum(s.bytes) OVER newest <= ${capBytes} THEN s.result END AS result,
      CASE WHEN sum(s.bytes) OVER newest <= ${capBytes} THEN s.error_context END AS error_context
    FROM task_stale_results s JOIN agents a ON a.project_id = s.project_id AND a.id = s.agent_id
    WHERE s.project_id = ${projectId} AND s.task_id = ${taskId}
    WINDOW newest AS (ORDER BY s.created_at DESC, s.lease_epoch DESC, s.kind ROWS UNBOUNDED PRECEDING)
    ORDER BY s.created_at DESC, s.lease_epoch DESC, s.kind`);
  return [...rows].map((row) => ({
    agentName: row.agent_name,
    leaseEpoch: row.lease_epoch,
    kind: row.kind,
    result: row.result ?? undefined,
    error: errorOf(row.error_message, row.error_context),
    time: parseTimestamptz(row.created_at),
  }));
}

/** One try of a task. */
export interface AttemptRecord {
  number: number;
  leaseEpoch: bigint;
  agentId: string;
  agentName: string;
  startedAt: Moment;
  endedAt: Moment | undefined;
  outcome: AttemptOutcome | undefined;
  error: AttemptError | undefined;
}

/** The tries of a task on a page and one more, in their order. */
export async function listAttempts(
  db: Db,
  projectId: string,
  taskId: string,
  newestFirst: boolean,
  page: PageRequest,
): Promise<AttemptRecord[]> {
  const [afterEpoch] = page.after ?? [];
  const comparison = sql.raw(newestFirst ? "<" : ">");
  const behind =
    afterEpoch === undefined ? sql`` : sql`AND t.lease_epoch ${comparison} ${afterEpoch}::bigint`;
  const rows = await db.execute<{
    number: number;
    lease_epoch: bigint;
    agent_id: string;
    agent_name: string;
    began_at: string;
    ended_at: string | null;
    outcome: AttemptOutcome | null;
    error_message: string | null;
    error_context: string | null;
  }>(sql`
    SELECT t.number, t.lease_epoch, t.agent_id, a.name AS agent_name, t.began_at, t.ended_at, t.outcome,
      t.error_message, t.error_context
    FROM task_attempts t JOIN agents a ON a.project_id = t.project_id AND a.id = t.agent_id
    WHERE t.project_id = ${projectId} AND t.task_id = ${taskId} ${behind}
    ORDER BY t.lease_epoch ${sql.raw(newestFirst ? "DESC" : "")} LIMIT ${page.size + 1}`);
  return [...rows].map((row) => ({
    number: row.number,
    leaseEpoch: row.lease_epoch,
    agentId: row.agent_id,
    agentName: row.agent_name,
    startedAt: parseTimestamptz(row.began_at),
    endedAt: row.ended_at === null ? undefined : parseTimestamptz(row.ended_at),
    outcome: row.outcome ?? undefined,
    error: errorOf(row.error_message, row.error_context),
  }));
}
