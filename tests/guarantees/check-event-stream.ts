import type { Sql } from "postgres";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { followEvents } from "../events/watch-client.ts";
import { enrollAgent } from "../helpers/fleet-api.ts";
import { openRawSql } from "../helpers/raw-sql.ts";
import type { Stage } from "../helpers/stage.ts";
import { holdLock } from "../helpers/stop-point.ts";
import { waitFor } from "../helpers/wait-for.ts";

const WRITTEN_TYPE = "task.created";

/** How much is written: so many writers, each so many transactions, on so many subjects. */
export interface Traffic {
  writers: number;
  rounds: number;
  subjects: number;
}

/** What a writer does to a subject: its lock, its event, and a while until the commit, as the server's own code does. */
async function write(
  sql: Sql,
  projectId: string,
  subject: string,
  hold: number,
  fail: boolean,
): Promise<void> {
  await sql
    .begin(async (tx) => {
      const [row] = await tx<{ n: number }[]>`
        UPDATE event_test_subjects SET n = n + 1 WHERE subject = ${subject} RETURNING n`;
      await tx`
        INSERT INTO events (project_id, type, subject, data)
        VALUES (${projectId}, 'task.created', ${subject}, jsonb_build_object('n', ${row?.n ?? 0}::int))`;
      await tx`SELECT pg_sleep(${hold})`;
      if (fail) throw new Error("rolled back on purpose");
    })
    .catch((error: unknown) => {
      if (!fail) throw error;
    });
}

/** Subjects that count what was done to them, and the project whose events tell of it. */
async function prepare(stage: Stage, subjects: number): Promise<string> {
  await stage.sql`CREATE TABLE IF NOT EXISTS event_test_subjects (subject text PRIMARY KEY, n int NOT NULL DEFAULT 0)`;
  await stage.sql`
    INSERT INTO event_test_subjects (subject) SELECT 'hot-' || g FROM generate_series(1, ${subjects}) g
    ON CONFLICT DO NOTHING`;
  const [project] = await stage.sql<{ id: string }[]>`SELECT id FROM projects WHERE name = 'default'`;
  return project?.id ?? "";
}

interface Numbered {
  seq: string | null;
  type: string;
  subject: string;
  n: number | null;
}

/**
 * Whether everything committed has its place. Places go by ids: once an event that came last has its own, whatever is
 * without one by then was passed over for good.
 */
async function haveTheirPlaces(sql: Sql, projectId: string): Promise<boolean> {
  const [last] = await sql<{ id: string }[]>`
    INSERT INTO events (project_id, type, subject) VALUES (${projectId}, 'task.cancelled', 'last') RETURNING id::text`;
  const isPlaced = async () =>
    (await sql`SELECT 1 FROM events WHERE id = ${last?.id ?? ""}::bigint AND seq IS NOT NULL`).length === 1;
  await waitFor(isPlaced, { what: "a place for the last event" });
  const passedOver = await sql`
    SELECT 1 FROM events WHERE seq IS NULL AND project_id = ${projectId} AND id < ${last?.id ?? ""}::bigint LIMIT 1`;
  return passedOver.length === 0;
}

/** What the table says is wrong: a row without a place, a gap, an effect before its cause. */
async function wrongInTable(sql: Sql, projectId: string): Promise<{ wrong: string[]; seqs: string[] }> {
  const wrong: string[] = [];
  if (!(await haveTheirPlaces(sql, projectId))) wrong.push("committed events never got their places");
  const rows = await sql<Numbered[]>`
    SELECT seq::text, type, subject, (data ->> 'n')::int AS n FROM events
    WHERE project_id = ${projectId} AND seq IS NOT NULL ORDER BY events.seq`;
  // What the server tells of its own accord, such as of a stale agent, may come after the table was read.
  const seqs = rows.filter(({ type }) => type === WRITTEN_TYPE).map(({ seq }) => String(seq));
  if (rows.some(({ seq }, index) => seq !== String(index + 1))) wrong.push("the numbers have gaps");
  const counts = new Map<string, number>();
  for (const { subject, n } of rows) {
    if (n === null) continue;
    if (n !== (counts.get(subject) ?? 0) + 1)
      wrong.push(`an effect stands before its cause: ${subject} ${n}`);
    counts.set(subject, n);
  }
  return { wrong, seqs };
}

/**
 * I9 under traffic: many writers on few subjects, some rolled back, against watches that stay and watches that come anew
 * all the time; all end with the table's list.
 */
export async function wrongUnderTraffic(
  stage: Stage,
  { writers, rounds, subjects }: Traffic,
  during: () => Promise<void> = async () => {},
): Promise<string[]> {
  const projectId = await prepare(stage, subjects);
  const { cursor } = await stage.operator.events.listEvents({ pageSize: 1 });
  const start = BigInt(cursor.split(".")[1] ?? 0);
  const api = () => stage.operator;
  const ways = [undefined, undefined, 11, 37];
  const watches = ways.map((reconnectAfter) =>
    followEvents(
      api,
      { after: cursor, types: [WRITTEN_TYPE] },
      reconnectAfter === undefined ? {} : { reconnectAfter },
    ),
  );
  const sql = openRawSql(stage.databaseUrl, writers);
  const run = async (writer: number) => {
    for (let round = 0; round < rounds; round += 1) {
      const subject = `hot-${1 + Math.floor(Math.random() * subjects)}`;
      await write(sql, projectId, subject, Math.random() * 0.004, (writer + round) % 10 === 0);
    }
  };
  await Promise.all([...Array.from({ length: writers }, (_, writer) => run(writer)), during()]);
  await sql.end();
  const { wrong, seqs } = await wrongInTable(stage.sql, projectId);
  const expected = seqs.filter((seq) => BigInt(seq) > start);
  for (const [index, watch] of watches.entries()) {
    const saw = () => watch.events.map((event) => event.cursor.split(".")[1] ?? "");
    await waitFor(() => watch.events.length >= expected.length, { timeoutMs: 40_000 }).catch(() => undefined);
    await watch.stop();
    if (saw().join() !== expected.join())
      wrong.push(`watch ${index} saw ${saw().length} events, not the table's ${expected.length}`);
    const reconnects = expected.length / (ways[index] ?? Number.POSITIVE_INFINITY) / 2;
    if (watch.reconnects() < reconnects) wrong.push(`watch ${index} hardly reconnected`);
  }
  if (expected.length < writers * rounds * 0.8) wrong.push(`only ${expected.length} events were written`);
  return wrong;
}

/** Transactions that commit in another order than they drew their ids or began: nothing is skipped or turned around. */
export async function wrongAfterLateCommits(stage: Stage): Promise<string[]> {
  const projectId = await prepare(stage, 3);
  const { cursor } = await stage.operator.events.listEvents({ pageSize: 1 });
  const watch = followEvents(() => stage.operator, { after: cursor, types: [WRITTEN_TYPE] });
  const [early, late] = [openRawSql(stage.databaseUrl, 1), openRawSql(stage.databaseUrl, 1)];
  // Draws its id first, and commits when what came after it was seen.
  await early`BEGIN`;
  await early`UPDATE event_test_subjects SET n = n + 1 WHERE subject = 'hot-1'`;
  await early`INSERT INTO events (project_id, type, subject, data) VALUES (${projectId}, 'task.created', 'hot-1', '{"n": 1}')`;
  await write(late, projectId, "hot-2", 0, false);
  await waitFor(() => watch.events.some(({ subject }) => subject === "hot-2"), { what: "the later one" });
  await early`COMMIT`;
  // Began first, and was done to what another one had finished; both wait for their places together.
  await early`BEGIN`;
  await early`SELECT pg_current_xact_id()`;
  const sequencer = await holdLock(stage.databaseUrl, "SELECT 1 FROM event_streams FOR UPDATE");
  // The sequencer stands still with this one in its hands, and will see the two after it together.
  await write(late, projectId, "hot-2", 0, false);
  await sequencer.reached();
  await write(late, projectId, "hot-3", 0, false);
  await early`UPDATE event_test_subjects SET n = n + 1 WHERE subject = 'hot-3'`;
  await early`INSERT INTO events (project_id, type, subject, data) VALUES (${projectId}, 'task.created', 'hot-3', '{"n": 2}')`;
  await early`COMMIT`;
  await sequencer.release();
  const { wrong } = await wrongInTable(stage.sql, projectId);
  // What has no place is not told either: there is nothing to wait for.
  if (wrong.length === 0)
    await waitFor(() => watch.events.length >= 5, { timeoutMs: 5_000 }).catch(() =>
      wrong.push(`the watch saw ${watch.events.length} of 5 events`),
    );
  await watch.stop();
  await Promise.all([early.end(), late.end()]);
  return wrong;
}

/** A change whose transaction fails in its COMMIT is told to nobody. */
export async function toldOfRollback(stage: Stage): Promise<string[]> {
  const agent = await enrollAgent(stage.fleet, stage.operator);
  const api = stage.fleet.agent(agent.token);
  await api.heartbeat({ status: AgentStatus.ONLINE });
  const { cursor } = await stage.operator.events.listEvents({ pageSize: 1 });
  const watch = followEvents(() => stage.operator, { after: cursor, agents: [agent.name] });
  await stage.sql.unsafe(`
    CREATE FUNCTION event_test_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
    CREATE CONSTRAINT TRIGGER event_test_refuse AFTER UPDATE ON agent_states DEFERRABLE INITIALLY DEFERRED
      FOR EACH ROW WHEN (NEW.status = 'busy') EXECUTE FUNCTION event_test_refuse()`);
  const answer = await api.heartbeat({ status: AgentStatus.BUSY }).then(
    () => "was acknowledged",
    () => undefined,
  );
  await stage.sql.unsafe("DROP FUNCTION event_test_refuse CASCADE");
  // Told after everything before it.
  await api.heartbeat({ status: AgentStatus.BENCHMARKED });
  const isOver = () => watch.events.some(({ data }) => data?.to === "benchmarked");
  await waitFor(isOver, { what: "the change that was committed" });
  await watch.stop();
  const wrong = answer === undefined ? [] : [`the heartbeat ${answer}`];
  const rolledBack = watch.events.filter(({ data }) => data?.to === "busy");
  return [...wrong, ...rolledBack.map(({ type }) => `a watch heard of what was rolled back: ${type}`)];
}
