import { type SQL, sql } from "drizzle-orm";
import type { Db } from "../storage/database.ts";
import type { JsonObject } from "../storage/schema.ts";
import type { StreamState } from "./cursor.ts";
import type { EventFilter, Filtered } from "./match-event.ts";

/** A numbered event. */
export interface StoredEvent extends Filtered {
  readonly projectId: string;
  readonly seq: bigint;
  readonly subject: string;
  /** Since 1970, by the database's clock. */
  readonly timeMicros: bigint;
  readonly data: JsonObject;
}

interface EventRow {
  project_id: string;
  seq: bigint;
  type: string;
  subject: string;
  agent_id: string | null;
  agent_name: string | null;
  task_id: string | null;
  micros: bigint;
  data: string;
}

const columns = sql.raw(`e.project_id, e.seq, e.type, e.subject, e.agent_id, e.agent_name, e.task_id,
  (extract(epoch FROM e.time) * 1000000)::bigint AS micros, e.data::text AS data`);

function eventOf(row: EventRow): StoredEvent {
  return {
    projectId: row.project_id,
    seq: row.seq,
    type: row.type,
    subject: row.subject,
    agentId: row.agent_id,
    agentName: row.agent_name,
    taskId: row.task_id,
    timeMicros: row.micros,
    // Written by appendEvents, whose drafts hold objects.
    data: JSON.parse(row.data) as JsonObject,
  };
}

/** A project's stream with the database's clock. */
export interface StreamLook extends StreamState {
  readonly nowMicros: bigint;
}

const streamColumns = sql.raw(`event_stream_epoch()::text AS epoch, coalesce(s.last_seq, 0) AS last_seq,
  coalesce(s.pruned_seq, 0) AS pruned_seq, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_micros`);

interface StreamRow {
  epoch: string;
  last_seq: bigint;
  pruned_seq: bigint;
  now_micros: bigint;
}

function lookOf(row: StreamRow): StreamLook {
  const { epoch, last_seq: lastSeq, pruned_seq: prunedSeq, now_micros: nowMicros } = row;
  return { epoch, lastSeq, prunedSeq, nowMicros };
}

export async function readStream(db: Db, projectId: string): Promise<StreamLook> {
  const [row] = await db.execute<StreamRow & Record<string, unknown>>(sql`
    SELECT ${streamColumns} FROM (SELECT ${projectId}::uuid AS project_id) p
    LEFT JOIN event_streams s ON s.project_id = p.project_id`);
  if (row === undefined) throw new Error("a query for one row gave none");
  return lookOf(row);
}

/** The streams of several projects, by project id. */
export async function readStreams(db: Db, projectIds: string[]): Promise<Map<string, StreamLook>> {
  const rows = await db.execute<StreamRow & { project_id: string } & Record<string, unknown>>(sql`
    SELECT p.project_id, ${streamColumns} FROM unnest(${sql.param(projectIds)}::uuid[]) AS p(project_id)
    LEFT JOIN event_streams s ON s.project_id = p.project_id`);
  return new Map([...rows].map((row) => [row.project_id, lookOf(row)]));
}

/** What follows in each project behind a number, at most so many of each, in order. */
export async function readNew(
  db: Db,
  places: readonly { projectId: string; after: bigint }[],
  limit: number,
): Promise<StoredEvent[]> {
  const rows = await db.execute<EventRow & Record<string, unknown>>(sql`
    SELECT ${columns}
    FROM unnest(
      ${sql.param(places.map(({ projectId }) => projectId))}::uuid[],
      ${sql.param(places.map(({ after }) => String(after)))}::bigint[]
    ) AS w(project_id, after)
    CROSS JOIN LATERAL (
      SELECT * FROM events n WHERE n.project_id = w.project_id AND n.seq > w.after ORDER BY n.seq LIMIT ${limit}
    ) e
    ORDER BY e.project_id, e.seq`);
  return [...rows].map(eventOf);
}

/** A stretch of a project's stream: the numbers from `first` to `last`, both of it. */
export interface Stretch {
  readonly projectId: string;
  readonly first: bigint;
  readonly last: bigint;
}

/** The wanted events of a stretch, at most so many, and how far the stream went and was pruned when they were read. */
export async function readStretch(
  db: Db,
  { projectId, first, last }: Stretch,
  filter: EventFilter,
  { limit, newestFirst }: { limit: number; newestFirst: boolean },
): Promise<StreamState & { events: StoredEvent[] }> {
  const rows = await db.execute<StreamRow & (EventRow | { seq: null }) & Record<string, unknown>>(sql`
    SELECT ${streamColumns}, e.seq, e.type, e.subject, e.agent_id, e.agent_name, e.task_id,
      e.micros, e.data, p.project_id
    FROM (SELECT ${projectId}::uuid AS project_id) p
    LEFT JOIN event_streams s ON s.project_id = p.project_id
    LEFT JOIN LATERAL (
      SELECT ${columns} FROM events e
      WHERE e.project_id = p.project_id AND e.seq BETWEEN ${String(first)}::bigint AND ${String(last)}::bigint
        AND ${conditionOf(filter)}
      ORDER BY e.seq ${sql.raw(newestFirst ? "DESC" : "ASC")} LIMIT ${limit}
    ) e ON true
    ORDER BY e.seq ${sql.raw(newestFirst ? "DESC" : "ASC")}`);
  const events = [...rows].flatMap((row) => (row.seq === null ? [] : [eventOf(row)]));
  const [row] = rows;
  if (row === undefined) throw new Error("a query for at least one row gave none");
  return { ...lookOf(row), events };
}

/** `matchEvent` in SQL. */
function conditionOf({ types, agentNames, agentIds, taskIds }: EventFilter): SQL {
  const among = (column: string, values: readonly string[], type: string) =>
    sql`${sql.raw(column)} = ANY (${sql.param([...values])}::${sql.raw(type)}[])`;
  const conditions: SQL[] = [sql`true`];
  if (types.length > 0) conditions.push(among("e.type", types, "text"));
  if (taskIds.length > 0) conditions.push(among("e.task_id", taskIds, "uuid"));
  if (agentNames.length + agentIds.length > 0) {
    conditions.push(
      sql`(${among("e.agent_name", agentNames, "text")} OR ${among("e.agent_id", agentIds, "uuid")})`,
    );
  }
  return sql.join(conditions, sql` AND `);
}

/** What one step of the numbering did. */
export interface Numbered {
  count: number;
  /** How long the oldest of them had waited, in ms. */
  lagMs: number;
}

/**
 * Gives the oldest unnumbered events their places: in the order of ids, dense and unique in each project. One caller at a
 * time, see the sequencer: two would read the same rows as unnumbered.
 */
export async function numberEvents(db: Db, limit: number): Promise<Numbered> {
  const [row] = await db.execute<{ count: number; lag_ms: number }>(sql`
    WITH batch AS (
      SELECT project_id, id, time FROM events WHERE seq IS NULL ORDER BY id LIMIT ${limit}
    ), counted AS (
      SELECT project_id, count(*) AS count FROM batch GROUP BY project_id
    ), moved AS (
      INSERT INTO event_streams (project_id, last_seq) SELECT project_id, count FROM counted
      ON CONFLICT (project_id) DO UPDATE SET last_seq = event_streams.last_seq + excluded.last_seq
      RETURNING project_id, last_seq
    ), placed AS (
      SELECT b.project_id, b.id,
        m.last_seq - c.count + row_number() OVER (PARTITION BY b.project_id ORDER BY b.id) AS seq
      FROM batch b JOIN counted c USING (project_id) JOIN moved m USING (project_id)
    ), numbered AS (
      UPDATE events e SET seq = p.seq FROM placed p
      WHERE e.project_id = p.project_id AND e.id = p.id AND e.seq IS NULL
      RETURNING e.time
    )
    SELECT count(*)::int AS count,
      coalesce(greatest(0, extract(epoch FROM clock_timestamp() - min(time)) * 1000), 0)::float8 AS lag_ms
    FROM numbered`);
  return { count: row?.count ?? 0, lagMs: row?.lag_ms ?? 0 };
}

/** For how long the oldest committed event has waited for its number, in ms; 0 where none waits. */
export async function readSequencerLag(db: Db): Promise<number> {
  const [row] = await db.execute<{ lag_ms: number }>(sql`
    SELECT greatest(0, extract(epoch FROM clock_timestamp() - time) * 1000)::float8 AS lag_ms
    FROM events WHERE seq IS NULL ORDER BY id LIMIT 1`);
  return row?.lag_ms ?? 0;
}

/** The newest id of the project that has no number yet; undefined where all have one. */
export async function findUnnumbered(db: Db, projectId: string, upTo?: bigint): Promise<bigint | undefined> {
  const bound = upTo === undefined ? sql`true` : sql`id <= ${String(upTo)}::bigint`;
  const [row] = await db.execute<{ id: bigint | null }>(sql`
    SELECT max(id) AS id FROM events WHERE seq IS NULL AND project_id = ${projectId} AND ${bound}`);
  return row?.id ?? undefined;
}
