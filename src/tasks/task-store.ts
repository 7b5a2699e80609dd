import { type SQL, sql } from "drizzle-orm";
import type { PackedJson } from "../runtime/json-value.ts";
import type { Db, Tx } from "../storage/database.ts";
import type { PageRequest } from "../storage/page.ts";
import type { JsonObject, Labels } from "../storage/schema.ts";
import { formatTimestamptz, type Moment, parseTimestamptz } from "../storage/timestamptz.ts";
import type { Requirements } from "./match-task.ts";
import { columnOfRequirements, requirementSetId, requirementsOfColumn } from "./requirement-store.ts";
import type { Task, TaskState } from "./task.ts";

/** A task as answers show it. Payload and result are the text of their JSON; undefined where there is none. */
export interface TaskRecord {
  id: string;
  kind: string;
  state: TaskState;
  priority: number;
  payload: string | undefined;
  result: string | undefined;
  labels: Labels;
  maxRetries: number;
  retries: number;
  losses: number;
  attempt: number;
  leaseEpoch: bigint;
  /** How long the lease still lasts, 0 once it ended; undefined where the task is not lent. */
  remainingMs: number | undefined;
  timeoutMs: number | undefined;
  notBefore: Moment | undefined;
  requirements: Requirements;
  /** Text of its JSON; undefined where there is none. */
  checkpoint: string | undefined;
  /** Name of the agent that holds it or held it last. */
  agentName: string | undefined;
  progress: number;
  detail: string;
  error: { message: string; context: JsonObject | undefined } | undefined;
  createdAt: Moment;
  /** Undefined unless it waits for that moment. */
  nextAttemptAt: Moment | undefined;
  startedAt: Moment | undefined;
  finishedAt: Moment | undefined;
}

/** A row of `recordColumns`: times and JSON come as text. */
export interface TaskRow extends Record<string, unknown> {
  id: string;
  kind: string;
  state: TaskState;
  priority: number;
  payload: string | null;
  result: string | null;
  labels: string;
  max_retries: number;
  retries: number;
  losses: number;
  attempt: number;
  lease_epoch: bigint;
  remaining_ms: number | null;
  timeout_ms: bigint | null;
  not_before: string | null;
  requirements: string | null;
  checkpoint: string | null;
  agent_name: string | null;
  progress: number;
  detail: string;
  error_message: string | null;
  error_context: string | null;
  created_at: string;
  next_attempt_at: string | null;
  started_at: string | null;
  finished_at: string | null;
}

const plainColumns = `t.id, t.kind, t.state, t.priority, t.labels, t.max_retries, t.retries, t.losses, t.attempt,
  t.lease_epoch, t.timeout_ms, t.not_before, t.requirements, t.progress, t.detail, t.error_message, t.error_context, t.created_at, t.started_at,
  t.finished_at, a.name AS agent_name,
  CASE WHEN t.state IN ('leased', 'running')
    THEN greatest(0, ceil(extract(epoch FROM t.lease_expires_at - clock_timestamp()) * 1000))::float8
  END AS remaining_ms,
  CASE WHEN t.state = 'pending' AND t.due_at > clock_timestamp() THEN t.due_at END AS next_attempt_at`;

/** Columns of a TaskRow, of a task `t` and its agent `a`. */
export const recordColumns: SQL = sql.raw(`${plainColumns}, t.payload, t.result, t.checkpoint`);

/** Joins the agent `a` to a task `t`; also one that was removed. */
export const withAgentName: SQL = sql.raw(
  "LEFT JOIN agents a ON a.project_id = t.project_id AND a.id = t.agent_id",
);

/** About how large the message of a task `t` is, in bytes, and rather less than more of it. */
export const taskBytes: SQL =
  sql.raw(`(1024 + t.payload_bytes + t.result_bytes + t.error_bytes + t.checkpoint_bytes
  + octet_length(t.labels::text) + coalesce(octet_length(t.requirements::text), 0) + octet_length(to_json(t.detail)::text))`);

export function taskOfRow(row: TaskRow): TaskRecord {
  return {
    id: row.id,
    kind: row.kind,
    state: row.state,
    priority: row.priority,
    payload: row.payload ?? undefined,
    result: row.result ?? undefined,
    // The column holds nothing else.
    labels: JSON.parse(row.labels) as Labels,
    maxRetries: row.max_retries,
    retries: row.retries,
    losses: row.losses,
    attempt: row.attempt,
    leaseEpoch: row.lease_epoch,
    remainingMs: row.remaining_ms ?? undefined,
    timeoutMs: row.timeout_ms === null ? undefined : Number(row.timeout_ms),
    notBefore: momentOf(row.not_before),
    requirements: requirementsOfColumn(row.requirements),
    checkpoint: row.checkpoint ?? undefined,
    agentName: row.agent_name ?? undefined,
    progress: row.progress,
    detail: row.detail,
    error: errorOf(row.error_message, row.error_context),
    createdAt: parseTimestamptz(row.created_at),
    nextAttemptAt: momentOf(row.next_attempt_at),
    startedAt: momentOf(row.started_at),
    finishedAt: momentOf(row.finished_at),
  };
}

/** An error out of its two columns. */
export function errorOf(message: string | null, context: string | null): TaskRecord["error"] {
  if (message === null) return undefined;
  // The column holds an object or nothing.
  return { message, context: context === null ? undefined : (JSON.parse(context) as JsonObject) };
}

function momentOf(text: string | null): Moment | undefined {
  return text === null ? undefined : parseTimestamptz(text);
}

export interface NewTask {
  id: string;
  kind: string;
  priority: number;
  payload: PackedJson | undefined;
  labels: Labels;
  maxRetries: number;
  timeoutMs: number | undefined;
  /** When it is due; undefined: at once. */
  notBefore: Moment | undefined;
  requirements: Requirements;
}

/** A task that was added, and how long it waits for its moment, in ms. */
export interface AddedTask {
  task: TaskRecord;
  waitMs: number;
}

/**
 * Adds pending tasks of one project, all by one statement with what records it (a part of its WITH); resolves to them in
 * the same order. Their requirement sets must be kept by the transaction.
 */
export async function insertTasks(
  tx: Tx,
  projectId: string,
  tasks: readonly NewTask[],
  recording: SQL,
): Promise<AddedTask[]> {
  const column = <T>(of: (task: NewTask) => T) => sql.param(tasks.map(of));
  const rows = await tx.execute<TaskRow & { wait_ms: number }>(sql`
    WITH ${recording}, added AS (
      INSERT INTO tasks (project_id, id, kind, priority, payload, payload_bytes, labels, max_retries, timeout_ms,
        not_before, requirements, requirement_set, created_at, due_at)
      SELECT ${projectId}::uuid, n.id, n.kind, n.priority, n.payload::json, n.payload_bytes, n.labels::jsonb,
        n.max_retries, n.timeout_ms, n.not_before, n.requirements::jsonb, n.requirement_set, moment.at,
        greatest(moment.at, n.not_before)
      FROM (SELECT clock_timestamp() AS at) moment, unnest(
        ${column(({ id }) => id)}::uuid[], ${column(({ kind }) => kind)}::text[],
        ${column(({ priority }) => priority)}::smallint[], ${column(({ payload }) => payload?.text ?? null)}::text[],
        ${column(({ payload }) => payload?.bytes ?? 0)}::int[],
        ${column(({ labels }) => JSON.stringify(labels))}::text[], ${column(({ maxRetries }) => maxRetries)}::int[],
        ${column(({ timeoutMs }) => timeoutMs ?? null)}::bigint[],
        ${column(({ notBefore }) => (notBefore === undefined ? null : formatTimestamptz(notBefore)))}::timestamptz[],
        ${column(({ requirements }) => columnOfRequirements(requirements))}::text[],
        ${column(({ requirements }) => requirementSetId(requirements))}::uuid[]
      ) AS n(id, kind, priority, payload, payload_bytes, labels, max_retries, timeout_ms, not_before, requirements,
        requirement_set)
      RETURNING *
    )
    SELECT ${recordColumns}, ceil(extract(epoch FROM t.due_at - t.created_at) * 1000)::float8 AS wait_ms
    FROM added t ${withAgentName}`);
  const added = new Map([...rows].map((row) => [row.id, { task: taskOfRow(row), waitMs: row.wait_ms }]));
  return tasks.flatMap(({ id }) => added.get(id) ?? []);
}

/** The tasks of these ids, in this order; those that are not there are left out. */
export async function findTasks(
  db: Db | Tx,
  projectId: string,
  ids: readonly string[],
): Promise<TaskRecord[]> {
  const rows = await db.execute<TaskRow>(sql`
    SELECT ${recordColumns} FROM unnest(${sql.param(ids)}::uuid[]) WITH ORDINALITY AS wanted(id, place)
    JOIN tasks t ON t.project_id = ${projectId} AND t.id = wanted.id ${withAgentName} ORDER BY wanted.place`);
  return [...rows].map(taskOfRow);
}

export async function findTask(db: Db | Tx, projectId: string, id: string): Promise<TaskRecord | undefined> {
  const [row] = await db.execute<TaskRow>(sql`
    SELECT ${recordColumns} FROM tasks t ${withAgentName} WHERE t.project_id = ${projectId} AND t.id = ${id}`);
  return row && taskOfRow(row);
}

/** Who holds the tasks at the moment, without a lock. */
export async function findHolders(tx: Tx, projectId: string, ids: readonly string[]): Promise<string[]> {
  const rows = await tx.execute<{ agent_id: string }>(sql`
    SELECT DISTINCT agent_id FROM tasks
    WHERE project_id = ${projectId} AND id = ANY (${sql.param([...ids])}::uuid[]) AND state IN ('leased', 'running')`);
  return [...rows].map((row) => row.agent_id);
}

/** Who holds a task at the moment, without a lock; undefined where there is no such task. */
export async function findHolder(
  tx: Db | Tx,
  projectId: string,
  id: string,
): Promise<{ agentId: string | undefined } | undefined> {
  const [row] = await tx.execute<{ agent_id: string | null }>(sql`
    SELECT CASE WHEN state IN ('leased', 'running') THEN agent_id END AS agent_id FROM tasks
    WHERE project_id = ${projectId} AND id = ${id}`);
  return row && { agentId: row.agent_id ?? undefined };
}

/** A task under its lock, as its rules see it. */
export type LockedTask = Task & { kind: string; requirements: Requirements };

export async function lockTask(tx: Tx, projectId: string, id: string): Promise<LockedTask | undefined> {
  const [task] = await lockTasks(tx, projectId, [id]);
  return task;
}

/** Locks tasks in the order of ids; those that are not there are left out. */
export async function lockTasks(
  tx: Tx,
  projectId: string,
  ids: readonly string[],
): Promise<(LockedTask & { taskId: string })[]> {
  const rows = await tx.execute<LockedTaskRow>(sql`
    SELECT id, kind, requirements, state, agent_id, max_retries, retries, losses, lease_epoch FROM tasks
    WHERE project_id = ${projectId} AND id = ANY (${sql.param([...ids])}::uuid[]) ORDER BY id FOR UPDATE`);
  return [...rows].map((row) => ({ ...lockedOfRow(row), taskId: row.id }));
}

type LockedTaskRow = {
  id: string;
  kind: string;
  requirements: string | null;
  state: TaskState;
  agent_id: string | null;
  max_retries: number;
  retries: number;
  losses: number;
  lease_epoch: bigint;
};

function lockedOfRow(row: LockedTaskRow): LockedTask {
  const { kind, state, agent_id: agentId, retries, losses } = row;
  const requirements = requirementsOfColumn(row.requirements);
  const basics = {
    kind,
    requirements,
    maxRetries: row.max_retries,
    retries,
    losses,
    leaseEpoch: row.lease_epoch,
  };
  if (state !== "leased" && state !== "running") return { ...basics, state };
  if (agentId === null) throw new Error("a lent task without an agent passed the table's check");
  return { ...basics, state, agentId };
}

/** Ends locked tasks that nobody holds. */
export async function writeCancelled(
  tx: Tx,
  projectId: string,
  ids: readonly string[],
  reason: string,
): Promise<void> {
  await tx.execute(sql`
    UPDATE tasks SET state = 'cancelled', finished_at = clock_timestamp(), error_message = ${reason}, error_context = NULL,
      error_bytes = octet_length(${reason}::text)
    WHERE project_id = ${projectId} AND id = ANY (${sql.param([...ids])}::uuid[])`);
}

/** Makes locked tasks that have ended wait again, with all of their chances; their places are by their age. */
export async function writeRetried(tx: Tx, projectId: string, ids: readonly string[]): Promise<void> {
  await tx.execute(sql`
    UPDATE tasks SET state = 'pending', retries = 0, losses = 0, forgiven_epoch = lease_epoch, finished_at = NULL,
      error_message = NULL, error_context = NULL, error_bytes = 0, due_at = greatest(created_at, not_before)
    WHERE project_id = ${projectId} AND id = ANY (${sql.param([...ids])}::uuid[])`);
}

/** Ends the backoff of a locked pending task, not what its creator has it wait for; false where it does not wait. */
export async function endBackoff(tx: Tx, projectId: string, id: string): Promise<boolean> {
  const rows = await tx.execute(sql`
    UPDATE tasks SET due_at = greatest(created_at, not_before)
    WHERE project_id = ${projectId} AND id = ${id} AND state = 'pending' AND due_at > clock_timestamp()
      AND due_at > greatest(created_at, not_before)
    RETURNING 1`);
  return rows.length > 0;
}

/** In how many ms pending tasks may be claimed, by their ids; 0: now. */
export async function waitsOf(
  tx: Tx,
  projectId: string,
  ids: readonly string[],
): Promise<Map<string, number>> {
  const rows = await tx.execute<{ id: string; wait_ms: number }>(sql`
    SELECT id, greatest(0, ceil(extract(epoch FROM due_at - clock_timestamp()) * 1000))::float8 AS wait_ms FROM tasks
    WHERE project_id = ${projectId} AND id = ANY (${sql.param([...ids])}::uuid[])`);
  return new Map([...rows].map((row) => [row.id, row.wait_ms]));
}

/** About how large a task's message is, in bytes; 0 where there is no such task. */
export async function findTaskBytes(db: Db | Tx, projectId: string, id: string): Promise<number> {
  const [row] = await db.execute<{ bytes: number }>(sql`
    SELECT ${taskBytes} AS bytes FROM tasks t WHERE t.project_id = ${projectId} AND t.id = ${id}`);
  return row?.bytes ?? 0;
}

/** Progress of the tasks that agents hold under the loans given, by agent id. */
export async function readCurrentTasks(
  db: Db | Tx,
  projectId: string,
  loans: { agentId: string; taskId: string; leaseEpoch: bigint }[],
): Promise<Map<string, { taskId: string; leaseEpoch: bigint; progress: number; detail: string }>> {
  const input = loans.map(({ agentId, taskId, leaseEpoch }) => ({
    agent_id: agentId,
    id: taskId,
    epoch: String(leaseEpoch),
  }));
  const rows = await db.execute<{
    agent_id: string;
    id: string;
    lease_epoch: bigint;
    progress: number;
    detail: string;
  }>(sql`
    SELECT t.agent_id, t.id, t.lease_epoch, t.progress, t.detail
    FROM jsonb_to_recordset(${JSON.stringify(input)}::jsonb) AS i(agent_id uuid, id uuid, epoch bigint)
    JOIN tasks t ON t.project_id = ${projectId} AND t.id = i.id AND t.agent_id = i.agent_id AND t.lease_epoch = i.epoch
    WHERE t.state IN ('leased', 'running')`);
  return new Map(
    [...rows].map(({ agent_id, id, lease_epoch, progress, detail }) => [
      agent_id,
      { taskId: id, leaseEpoch: lease_epoch, progress, detail },
    ]),
  );
}

export interface TaskFilter {
  projectId: string;
  states: TaskState[];
  kinds: string[];
  agentId: string | undefined;
  labels: Labels;
}

/** A task of a list with the value that its place goes by. */
export type ListedTask = TaskRecord & { sortTime: string };

/**
 * The tasks of a page and one more, in their order, and how many of them fit into `capBytes`: at least one, where there
 * is one. Those that do not fit come without payload and result.
 */
export async function listTasks(
  db: Db | Tx,
  filter: TaskFilter,
  oldestFirst: boolean,
  page: PageRequest,
  capBytes: number,
): Promise<{ tasks: ListedTask[]; fitting: number }> {
  const conditions = conditionsOf(filter);
  if (page.after !== undefined) {
    const [time, id] = page.after;
    const comparison = sql.raw(oldestFirst ? ">" : "<");
    conditions.push(sql`(t.created_at, t.id) ${comparison} (${time}::timestamptz, ${id}::uuid)`);
  }
  const order = sql.raw(oldestFirst ? "t.created_at, t.id" : "t.created_at DESC, t.id DESC");
  const rows = await db.execute<TaskRow & { sort_time: string; fits: boolean }>(sql`
    WITH found AS (
      SELECT t.* FROM tasks t WHERE ${sql.join(conditions, sql` AND `)} ORDER BY ${order} LIMIT ${page.size + 1}
    ), sized AS (
      SELECT t.*, row_number() OVER places = 1 OR sum(${taskBytes}) OVER places <= ${capBytes} AS fits
      FROM found t WINDOW places AS (ORDER BY ${order} ROWS UNBOUNDED PRECEDING)
    )
    SELECT ${sql.raw(plainColumns)}, CASE WHEN t.fits THEN t.payload END AS payload,
      CASE WHEN t.fits THEN t.result END AS result, CASE WHEN t.fits THEN t.checkpoint END AS checkpoint, t.created_at::text AS sort_time, t.fits
    FROM sized t ${withAgentName} ORDER BY ${order}`);
  const tasks = [...rows].map((row) => ({ ...taskOfRow(row), sortTime: row.sort_time }));
  return { tasks, fitting: rows.filter((row) => row.fits).length };
}

function conditionsOf(filter: TaskFilter): SQL[] {
  const conditions = [sql`t.project_id = ${filter.projectId}`];
  // Written out, since the partial indexes are found by constants alone; they are ours, no caller's.
  if (filter.states.length > 0) {
    conditions.push(sql.raw(`t.state IN (${filter.states.map((state) => `'${state}'`).join(", ")})`));
  }
  if (filter.kinds.length > 0) conditions.push(sql`t.kind = ANY (${sql.param(filter.kinds)}::text[])`);
  if (filter.agentId !== undefined) conditions.push(sql`t.agent_id = ${filter.agentId}`);
  if (Object.keys(filter.labels).length > 0) {
    conditions.push(sql`t.labels @> ${JSON.stringify(filter.labels)}::jsonb`);
  }
  return conditions;
}
