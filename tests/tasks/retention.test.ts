import { afterAll, beforeAll, expect, test } from "vitest";
import { forgetOldErrors } from "../../src/error-reports/error-report-store.ts";
import { forgetOldTasks } from "../../src/tasks/prune-tasks.ts";
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
