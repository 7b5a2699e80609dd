import { type SQL, sql } from "drizzle-orm";
import type { PackedJson } from "../runtime/json-value.ts";
import type { Tx } from "../storage/database.ts";
import type { Requirements } from "./match-task.ts";
import { requirementsOfColumn } from "./requirement-store.ts";
import type { LentTask, Loan } from "./task.ts";
import { recordColumns, type TaskRecord, type TaskRow, taskOfRow, withAgentName } from "./task-store.ts";

/** A task under the loan that a write names. */
export interface LoanKey extends Loan {
  projectId: string;
  taskId: string;
}

/** How a task gets on; what is undefined stays. */
export interface Progress {
  progress?: number | undefined;
  detail?: string | undefined;
  /** Where the next attempt could begin. */
  checkpoint?: PackedJson | undefined;
}

/** What a renewal made of a task. */
export interface RenewedLoan extends LoanKey {
  kind: string;
  /** The agent has begun by this. */
  began: boolean;
}

/** One loan of a set to renew. */
export interface Renewal extends LoanKey, Progress {
  /** The agent works on it: a leased task runs from now on. */
  accept: boolean;
  /** For how long from now on. */
  leaseMs: number;
}

/**
 * Renews the loans that their agents still have; those that are not in the answer are over. A lease past its end is
 * renewed too, as long as nobody took the task back. The agents' rows must be locked.
 */
export async function renewLoans(tx: Tx, renewals: readonly Renewal[]): Promise<RenewedLoan[]> {
  return await renew(tx, renewals, { agents: sql``, join: sql``, tasks: sql`FOR UPDATE OF t` });
}

/**
 * The same where the agents' rows are not locked: it locks them before the tasks, FOR SHARE. What is not in the answer was
 * not touched: the loan is over, its agent is in error or gone, or somebody else has the agent or the task locked.
 */
export async function renewFreeLoans(tx: Tx, renewals: readonly Renewal[]): Promise<RenewedLoan[]> {
  // Sorting takes all of its input before the first row is locked: no task is, until all agents are.
  return await renew(tx, renewals, {
    agents: sql`, agent AS MATERIALIZED (
      SELECT s.project_id, s.agent_id FROM agent_states s
      WHERE (s.project_id, s.agent_id) IN (SELECT project_id, agent_id FROM wanted) AND s.status <> 'error'
      ORDER BY s.project_id, s.agent_id FOR SHARE SKIP LOCKED
    )`,
    join: sql`JOIN agent USING (project_id, agent_id)`,
    tasks: sql`FOR UPDATE OF t SKIP LOCKED`,
  });
}

async function renew(
  tx: Tx,
  renewals: readonly Renewal[],
  locks: { agents: SQL; join: SQL; tasks: SQL },
): Promise<RenewedLoan[]> {
  if (renewals.length === 0) return [];
  const input = renewals.map(
    ({ projectId, agentId, taskId, leaseEpoch, accept, leaseMs, progress, detail, checkpoint }) => ({
      project_id: projectId,
      agent_id: agentId,
      id: taskId,
      epoch: String(leaseEpoch),
      accept,
      lease_ms: leaseMs,
      progress: progress ?? null,
      detail: detail ?? null,
      // As text, which stays as it is.
      checkpoint: checkpoint?.text ?? null,
      checkpoint_bytes: checkpoint?.bytes ?? null,
    }),
  );
  const rows = await tx.execute<LoanRow & { kind: string; began: boolean }>(sql`
    WITH wanted AS MATERIALIZED (
      SELECT * FROM jsonb_to_recordset(${JSON.stringify(input)}::jsonb) AS w(project_id uuid, agent_id uuid, id uuid,
        epoch bigint, accept boolean, lease_ms float8, progress float8, detail text, checkpoint text, checkpoint_bytes int)
    )${locks.agents}, held AS MATERIALIZED (
      SELECT t.project_id, t.id, t.state = 'leased' AND i.accept AS began, i.accept, i.lease_ms, i.progress, i.detail,
        i.checkpoint, i.checkpoint_bytes
      FROM wanted i ${locks.join}
      JOIN tasks t ON t.project_id = i.project_id AND t.id = i.id AND t.lease_epoch = i.epoch
        AND t.agent_id = i.agent_id
      WHERE t.state IN ('leased', 'running')
      ORDER BY t.project_id, t.id ${locks.tasks}
    )
    UPDATE tasks t
    SET lease_expires_at = clock_timestamp() + held.lease_ms * interval '1 ms',
      state = CASE WHEN held.accept THEN 'running' ELSE t.state END,
      started_at = CASE WHEN held.accept THEN coalesce(t.started_at, clock_timestamp()) ELSE t.started_at END,
      progress = coalesce(held.progress, t.progress), detail = coalesce(held.detail, t.detail),
      checkpoint = coalesce(held.checkpoint::json, t.checkpoint),
      checkpoint_bytes = coalesce(held.checkpoint_bytes, t.checkpoint_bytes)
    FROM held WHERE t.project_id = held.project_id AND t.id = held.id
    RETURNING t.project_id, t.agent_id, t.id, t.lease_epoch, t.kind, held.began`);
  return [...rows].map((row) => ({ ...loanKeyOf(row), kind: row.kind, began: row.began }));
}

interface LoanRow extends Record<string, unknown> {
  project_id: string;
  agent_id: string;
  id: string;
  lease_epoch: bigint;
}

function loanKeyOf(row: LoanRow): LoanKey {
  return { projectId: row.project_id, agentId: row.agent_id, taskId: row.id, leaseEpoch: row.lease_epoch };
}

/** How long the loans that their agents still have last, in ms; nothing is renewed. */
export async function readLoans(
  tx: Tx,
  loans: readonly LoanKey[],
): Promise<(LoanKey & { remainingMs: number })[]> {
  if (loans.length === 0) return [];
  const input = loans.map(({ projectId, agentId, taskId, leaseEpoch }) => ({
    project_id: projectId,
    agent_id: agentId,
    id: taskId,
    epoch: String(leaseEpoch),
  }));
  const rows = await tx.execute<LoanRow & { remaining_ms: number }>(sql`
    SELECT t.project_id, t.agent_id, t.id, t.lease_epoch,
      greatest(0, floor(extract(epoch FROM t.lease_expires_at - clock_timestamp()) * 1000))::float8 AS remaining_ms
    FROM jsonb_to_recordset(${JSON.stringify(input)}::jsonb) AS i(project_id uuid, agent_id uuid, id uuid, epoch bigint)
    JOIN tasks t ON t.project_id = i.project_id AND t.id = i.id AND t.lease_epoch = i.epoch AND t.agent_id = i.agent_id
    WHERE t.state IN ('leased', 'running')`);
  return [...rows].map((row) => ({ ...loanKeyOf(row), remainingMs: row.remaining_ms }));
}

/** Ends a task with its result, if the loan still holds; undefined otherwise. `from` is its state before. */
export async function completeLoan(
  tx: Tx,
  loan: LoanKey,
  result: PackedJson | undefined,
): Promise<{ task: TaskRecord; from: "leased" | "running" } | undefined> {
  const [row] = await tx.execute<TaskRow & { state_before: "leased" | "running" }>(sql`
    WITH held AS MATERIALIZED (
      SELECT project_id, id, agent_id, state FROM tasks
      WHERE project_id = ${loan.projectId} AND id = ${loan.taskId} AND agent_id = ${loan.agentId}
        AND lease_epoch = ${String(loan.leaseEpoch)}::bigint AND state IN ('leased', 'running')
      FOR UPDATE
    ), done AS (
      UPDATE tasks t
      SET state = 'succeeded', result = ${result?.text ?? null}::json, result_bytes = ${result?.bytes ?? 0}::int,
        checkpoint = NULL, checkpoint_bytes = 0, progress = 1, finished_at = clock_timestamp(), lease_expires_at = NULL
      FROM held WHERE t.project_id = held.project_id AND t.id = held.id
      RETURNING t.*, held.state AS state_before
    ), ended AS (
      UPDATE task_attempts a SET ended_at = done.finished_at, outcome = 'succeeded' FROM done
      WHERE a.project_id = done.project_id AND a.task_id = done.id AND a.lease_epoch = done.lease_epoch
        AND a.ended_at IS NULL
    ), proven AS (
      DELETE FROM agent_failures f USING held WHERE f.project_id = held.project_id AND f.agent_id = held.agent_id
    )
    SELECT ${recordColumns}, t.state_before FROM done t ${withAgentName}`);
  return row && { task: taskOfRow(row), from: row.state_before };
}

/** Whether the agent holds the task, under whatever epoch. */
export async function holdsTask(tx: Tx, holder: Holder, taskId: string): Promise<boolean> {
  const rows = await tx.execute(sql`
    SELECT 1 FROM tasks
    WHERE project_id = ${holder.projectId} AND id = ${taskId} AND agent_id = ${holder.agentId}
      AND state IN ('leased', 'running')`);
  return rows.length > 0;
}

/** A lent task under its lock, as its rules see it. */
export type LockedLoan = LentTask & {
  projectId: string;
  taskId: string;
  kind: string;
  requirements: Requirements;
};

interface LockedRow extends Record<string, unknown> {
  project_id: string;
  id: string;
  kind: string;
  requirements: string | null;
  state: "leased" | "running";
  agent_id: string;
  max_retries: number;
  retries: number;
  losses: number;
  lease_epoch: bigint;
  took_down: number;
}

/** What one project gets of a sweep at most, as a part of all: one that is flooded leaves time for the others. */
const FAIR_SHARE = 4;

const lockedColumns = sql.raw(
  `t.project_id, t.id, t.kind, t.requirements, t.state, t.agent_id, t.max_retries, t.retries, t.losses, t.lease_epoch,
  (SELECT count(DISTINCT d.agent_id)::int FROM task_attempts d
    WHERE d.project_id = t.project_id AND d.task_id = t.id AND d.took_down AND d.lease_epoch > t.forgiven_epoch
      AND d.agent_id <> t.agent_id) AS took_down`,
);

function loanOfRow(row: LockedRow): LockedLoan {
  return {
    projectId: row.project_id,
    taskId: row.id,
    kind: row.kind,
    requirements: requirementsOfColumn(row.requirements),
    state: row.state,
    agentId: row.agent_id,
    maxRetries: row.max_retries,
    retries: row.retries,
    losses: row.losses,
    leaseEpoch: row.lease_epoch,
    tookDown: row.took_down,
  };
}

/** Locks a task if the loan still holds; undefined otherwise. */
export async function lockLoan(tx: Tx, loan: LoanKey): Promise<LockedLoan | undefined> {
  const [row] = await tx.execute<LockedRow>(sql`
    SELECT ${lockedColumns} FROM tasks t
    WHERE t.project_id = ${loan.projectId} AND t.id = ${loan.taskId} AND t.agent_id = ${loan.agentId}
      AND t.lease_epoch = ${String(loan.leaseEpoch)}::bigint AND t.state IN ('leased', 'running')
    FOR UPDATE`);
  return row && loanOfRow(row);
}

/** An agent whose tasks are meant. */
export interface Holder {
  projectId: string;
  agentId: string;
}

/** Locks what the agents hold, in the order of ids; `endedOnly`: where the lease is past its end. */
export async function lockLoansOf(tx: Tx, holders: Holder[], endedOnly: boolean): Promise<LockedLoan[]> {
  const input = holders.map(({ projectId, agentId }) => ({ project_id: projectId, agent_id: agentId }));
  const rows = await tx.execute<LockedRow>(sql`
    SELECT ${lockedColumns}
    FROM jsonb_to_recordset(${JSON.stringify(input)}::jsonb) AS h(project_id uuid, agent_id uuid)
    JOIN tasks t ON t.project_id = h.project_id AND t.agent_id = h.agent_id
    WHERE t.state IN ('leased', 'running') AND (NOT ${endedOnly}::boolean OR t.lease_expires_at <= clock_timestamp())
    ORDER BY t.project_id, t.id FOR UPDATE OF t`);
  return [...rows].map(loanOfRow);
}

/** Agents whose tasks stay with them, although they would go back: those of these projects that are not heard. */
export interface Spared {
  projectIds: readonly string[];
  /** An agent that was not heard for so many ms is meant, and one that is offline. */
  silentForMs: number;
}

/** Of a task `t` whose agent `s` may be missing: nobody spares it. */
function isNotSpared({ projectIds, silentForMs }: Spared) {
  return sql`NOT (t.project_id = ANY (${sql.param([...projectIds])}::uuid[]) AND coalesce(s.liveness = 'offline'
    OR s.last_seen_at <= (SELECT clock_timestamp() - ${silentForMs} * interval '1 ms'), false))`;
}

/**
 * Locks up to so many tasks whose lease is past its end while their agent lives or was never heard, or is removed.
 * Those that someone else has locked are left for the next time.
 */
export async function lockEndedLoans(tx: Tx, limit: number, spared: Spared): Promise<LockedLoan[]> {
  const rows = await tx.execute<LockedRow>(sql`
    SELECT ended.* FROM projects p CROSS JOIN LATERAL (
      SELECT ${lockedColumns} FROM tasks t
      LEFT JOIN agent_states s ON s.project_id = t.project_id AND s.agent_id = t.agent_id
      WHERE t.project_id = p.id AND t.state IN ('leased', 'running')
        AND t.lease_expires_at <= (SELECT clock_timestamp())
        AND coalesce(s.liveness, 'never') IN ('live', 'never') AND ${isNotSpared(spared)}
      LIMIT ${Math.ceil(limit / FAIR_SHARE)} FOR UPDATE OF t SKIP LOCKED) ended
    LIMIT ${limit}`);
  return [...rows].map(loanOfRow);
}

/** Of a task `t`: its attempt has run longer than it may. One that was not called begun counts from the loan. */
const isOverdue = sql`t.state IN ('leased', 'running') AND t.timeout_ms IS NOT NULL
  AND coalesce(t.started_at, t.leased_at) + t.timeout_ms * interval '1 ms' <= (SELECT clock_timestamp())`;

/** Agents with attempts that have run longer than they may, up to so many; none of them locked. */
export async function findOverdueHolders(tx: Tx, limit: number, spared: Spared): Promise<Holder[]> {
  const rows = await tx.execute<{ project_id: string; agent_id: string }>(sql`
    SELECT overdue.* FROM projects p CROSS JOIN LATERAL (
      SELECT DISTINCT s.project_id, s.agent_id FROM tasks t
      JOIN agent_states s ON s.project_id = t.project_id AND s.agent_id = t.agent_id
      WHERE t.project_id = p.id AND ${isOverdue} AND ${isNotSpared(spared)}
      LIMIT ${Math.ceil(limit / FAIR_SHARE)}) overdue
    LIMIT ${limit}`);
  return [...rows].map((row) => ({ projectId: row.project_id, agentId: row.agent_id }));
}

/**
 * Locks up to so many tasks whose attempt has run longer than it may, of these agents and of those that are gone; skips
 * what someone else has locked.
 */
export async function lockOverdueLoans(
  tx: Tx,
  agents: readonly Holder[],
  limit: number,
  spared: Spared,
): Promise<LockedLoan[]> {
  const rows = await tx.execute<LockedRow>(sql`
    SELECT overdue.* FROM projects p CROSS JOIN LATERAL (
      SELECT ${lockedColumns} FROM tasks t
      LEFT JOIN agent_states s ON s.project_id = t.project_id AND s.agent_id = t.agent_id
      WHERE t.project_id = p.id AND ${isOverdue} AND ${isNotSpared(spared)}
        AND (s.agent_id IS NULL OR s.agent_id = ANY (${sql.param(agents.map(({ agentId }) => agentId))}::uuid[]))
      LIMIT ${Math.ceil(limit / FAIR_SHARE)} FOR UPDATE OF t SKIP LOCKED) overdue
    LIMIT ${limit}`);
  return [...rows].map(loanOfRow);
}

/** Which lost agents are meant: those of one project, or of all but some. */
export type LostIn = { readonly project: string } | { readonly except: readonly string[] };

/** Agents that are offline and hold tasks whose lease is past its end, up to so many, those lost first before others. */
export async function findLostHolders(tx: Tx, limit: number, lostIn: LostIn): Promise<Holder[]> {
  const meant =
    "project" in lostIn
      ? sql`t.project_id = ${lostIn.project}`
      : sql`t.project_id <> ALL (${sql.param([...lostIn.except])}::uuid[])`;
  const rows = await tx.execute<{ project_id: string; agent_id: string }>(sql`
    SELECT t.project_id, t.agent_id FROM tasks t
    JOIN agent_states s ON s.project_id = t.project_id AND s.agent_id = t.agent_id
    WHERE t.state IN ('leased', 'running') AND t.lease_expires_at <= (SELECT clock_timestamp())
      AND s.liveness = 'offline' AND ${meant}
    GROUP BY t.project_id, t.agent_id, s.lost_at ORDER BY s.lost_at, t.agent_id
    LIMIT ${limit}`);
  return [...rows].map((row) => ({ projectId: row.project_id, agentId: row.agent_id }));
}

/** Lets every lease of a project last for so many ms from now at least. */
export async function prolongLoans(tx: Tx, projectId: string, atLeastMs: number): Promise<void> {
  await tx.execute(sql`
    UPDATE tasks SET lease_expires_at = greatest(lease_expires_at, clock_timestamp() + ${atLeastMs} * interval '1 ms')
    WHERE state IN ('leased', 'running') AND project_id = ${projectId}`);
}

/** Moves the end of every lease by so many ms. */
export async function extendLoans(tx: Tx, byMs: number): Promise<void> {
  await tx.execute(sql`
    UPDATE tasks SET lease_expires_at = lease_expires_at + ${byMs} * interval '1 ms'
    WHERE state IN ('leased', 'running')`);
}
