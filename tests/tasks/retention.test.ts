import { afterAll, beforeAll, expect, test } from "vitest";
import { forgetOldErrors } from "../../src/error-reports/error-report-store.ts";
import { forgetOldSessions } from "../../src/heartbeat/heartbeat-store.ts";
import { forgetOldTasks } from "../../src/tasks/prune-tasks.ts";
import { startControlPlane } from "../helpers/control-plane.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { pack, startTaskFixture, type TaskFixture } from "./task-fixture.ts";

let fixture: TaskFixture;
beforeAll(async () => {
  fixture = await startTaskFixture();
});
afterAll(() => fixture.stop());

const HOUR_MS = 3_600_000;

test("what ended long ago goes with its attempts, and nothing that waits or is at work", async () => {
  const { sql, db } = fixture.database;
  const agent = await fixture.enroll("gpu");
  const done = async (kind: string) => {
    const id = await fixture.add({ kind });
    await fixture.claim(agent, 1, [kind]);
    await fixture.loans.complete(agent, id, 1n, pack(1));
    await fixture.loans.complete(agent, id, 2n, pack("stale")).catch(() => {});
    return id;
  };
  const [old, recent] = [await done("old"), await done("recent")];
  const lent = await fixture.add({ kind: "lent" });
  await fixture.claim(agent, 1, ["lent"]);
  const waiting = await fixture.add({ kind: "waiting" });
  await sql`UPDATE tasks SET created_at = created_at - interval '2 hours'`;
  await sql`UPDATE tasks SET finished_at = finished_at - interval '90 minutes' WHERE id = ${old}`;
  expect(await forgetOldTasks(db, HOUR_MS, 100)).toBe(1);
  expect(await forgetOldTasks(db, HOUR_MS, 100)).toBe(0);
  const left = await sql<{ id: string }>`SELECT id FROM tasks`;
  expect(left.map(({ id }) => id).sort()).toEqual([recent, lent, waiting].sort());
  const attempts = await sql<{ task_id: string }>`SELECT DISTINCT task_id FROM task_attempts`;
  expect(attempts.map((row) => row.task_id).sort()).toEqual([recent, lent].sort());
  const results = await sql<{ task_id: string }>`SELECT task_id FROM task_stale_results`;
  expect(results).toEqual([{ task_id: recent }]);
});

test("goes by small batches", async () => {
  const { sql, db } = fixture.database;
  await sql`
    INSERT INTO tasks (project_id, id, kind, priority, max_retries, state, created_at, finished_at)
    SELECT ${fixture.projectId}::uuid, gen_random_uuid(), 'many', 5, 0, 'failed', now() - interval '9 hours',
      now() - interval '8 hours' FROM generate_series(1, 25)`;
  expect(await forgetOldTasks(db, HOUR_MS, 10)).toBe(10);
  expect(await forgetOldTasks(db, HOUR_MS, 10)).toBe(10);
  expect(await forgetOldTasks(db, HOUR_MS, 10)).toBe(5);
});

test("errors go by when they were last seen", async () => {
  const { sql, db } = fixture.database;
  await sql`
    INSERT INTO error_reports (project_id, id, agent_id, severity, message, fingerprint, created_at, last_seen_at)
    SELECT ${fixture.projectId}::uuid, gen_random_uuid(), gen_random_uuid(), 3, m.text, m.text,
      now() - interval '5 hours', now() - m.age
    FROM (VALUES ('gone', interval '3 hours'), ('seen again', interval '1 minute')) AS m(text, age)`;
  expect(await forgetOldErrors(db, HOUR_MS, 100)).toBe(1);
  expect(await sql`SELECT message FROM error_reports`).toEqual([{ message: "seen again" }]);
});

test("runs of agents' processes go when others took over from them long ago, and never the newest", async () => {
  const { sql, db } = fixture.database;
  // By agent and run, the oldest first: how many days ago each began.
  await sql`
    INSERT INTO agent_sessions (project_id, agent_id, boot_id, epoch, started_at)
    SELECT ${fixture.projectId}::uuid, md5(r.agent)::uuid, r.agent || r.epoch, r.epoch, now() - r.days * interval '1 day'
    FROM (VALUES ('long', 1, 9.0), ('long', 2, 8.0), ('long', 3, 0.5), ('idle', 1, 9.0), ('late', 1, 9.0), ('late', 2, 0.1))
      AS r(agent, epoch, days)`;
  const left = async () =>
    (await sql<{ run: string }>`SELECT boot_id AS run FROM agent_sessions ORDER BY 1`).map(({ run }) => run);
  expect(await forgetOldSessions(db, 100, 30 * 24 * HOUR_MS)).toBe(0);
  expect(await forgetOldSessions(db, 100, HOUR_MS)).toBe(1);
  expect(await left()).toEqual(["idle1", "late1", "late2", "long2", "long3"]);
  await sql`UPDATE agent_sessions SET started_at = started_at - interval '2 days'`;
  expect(await forgetOldSessions(db, 1, HOUR_MS)).toBe(1);
  expect(await forgetOldSessions(db, 100, HOUR_MS)).toBe(1);
  expect(await left()).toEqual(["idle1", "late2", "long3"]);
});

test("a server forgets by its settings, each kind by its own, and nothing of what is at work", async () => {
  const server = await startControlPlane({
    settings: {
      DROVER_RETENTION_TASKS: "1s",
      DROVER_RETENTION_ERRORS: "1h",
      DROVER_RETENTION_RUNS: "2h",
    },
  });
  const { database: sql } = server;
  try {
    await sql`
      INSERT INTO runs (project_id, id, agent_name, actor, status, started_at, finished_at)
      SELECT p.id, gen_random_uuid(), r.name, 'server', 'ok', clock_timestamp() - r.age, clock_timestamp() - r.age
      FROM projects p, (VALUES ('gone', interval '3 hours'), ('kept', interval '90 minutes')) AS r(name, age)`;
    await sql`
      INSERT INTO error_reports (project_id, id, agent_id, severity, message, fingerprint, created_at, last_seen_at)
      SELECT p.id, gen_random_uuid(), gen_random_uuid(), 3, e.text, e.text, now() - e.age, now() - e.age
      FROM projects p, (VALUES ('gone', interval '90 minutes'), ('kept', interval '10 minutes')) AS e(text, age)`;
    await sql`
      WITH agent AS (
        INSERT INTO agents (project_id, id, name) SELECT id, gen_random_uuid(), 'gpu' FROM projects RETURNING project_id, id
      ), state AS (
        INSERT INTO agent_states (project_id, agent_id, liveness, status, version, last_seen_at)
        SELECT project_id, id, 'live', 'online', 1, clock_timestamp() FROM agent
      ), made AS (
        INSERT INTO tasks (project_id, id, kind, priority, max_retries, state, created_at, finished_at, agent_id, leased_at,
          lease_expires_at, lease_epoch, attempt)
        SELECT a.project_id, gen_random_uuid(), t.state, 5, 0, t.state, now() - interval '2 days',
          CASE WHEN t.ended THEN now() - interval '1 day' END, a.id, now() - interval '1 day',
          CASE WHEN t.state = 'running' THEN now() + interval '1 day' END, 2, 2
        FROM agent a, (VALUES ('succeeded', true), ('failed', true), ('cancelled', true), ('quarantined', true),
          ('running', false), ('pending', false)) AS t(state, ended)
        RETURNING project_id, id, state, agent_id
      )
      INSERT INTO task_attempts (project_id, task_id, lease_epoch, number, agent_id, began_at, ended_at, outcome)
      SELECT made.project_id, made.id, epoch, epoch, made.agent_id, now() - interval '2 days',
        CASE WHEN epoch = 1 OR made.state <> 'running' THEN now() - interval '1 day' END,
        CASE WHEN epoch = 1 OR made.state <> 'running' THEN 'lost' END
      FROM made, generate_series(1, 2) AS epoch`;
    const states = async () =>
      (await sql<{ state: string }>`SELECT state FROM tasks ORDER BY state`).map(({ state }) => state);
    await waitFor(async () => (await states()).length === 2, { what: "the end of what ended" });
    expect(await states()).toEqual(["pending", "running"]);
    const [attempts] = await sql<{ count: number }>`SELECT count(*)::int AS count FROM task_attempts`;
    // Also the one of what is at work that ended long ago: it counts towards its limits.
    expect(attempts?.count).toBe(4);
    const rest = async () =>
      (
        await sql<{ text: string }>`
          SELECT message AS text FROM error_reports UNION ALL SELECT agent_name FROM runs`
      ).map(({ text }) => text);
    await waitFor(async () => (await rest()).length === 2, { what: "the end of old errors and runs" });
    expect(await rest()).toEqual(["kept", "kept"]);
  } finally {
    await server.stop();
  }
});
