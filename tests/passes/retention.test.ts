import { expect, test } from "vitest";
import { forgetOldRuns } from "../../src/passes/run-store.ts";
import { openDatabase } from "../../src/storage/database.ts";
import { createTestDatabase } from "../helpers/test-database.ts";

test("runs that ended are forgotten when they are old, and those that run are not", async () => {
  const { url, drop } = await createTestDatabase();
  const database = openDatabase({ url, applicationName: "drover-test" });
  await database.sql`
    INSERT INTO runs (project_id, id, agent_name, actor, status, started_at, finished_at)
    SELECT gen_random_uuid(), gen_random_uuid(), name, 'server', status, clock_timestamp() - age::interval,
      CASE WHEN status = 'running' THEN NULL ELSE clock_timestamp() END
    FROM (VALUES ('old', 'ok', '91 days'), ('older', 'interrupted', '92 days'), ('young', 'ok', '89 days'),
      ('running', 'running', '91 days')) AS runs (name, status, age)`;
  const left = async () =>
    (await database.sql<{ name: string }>`SELECT agent_name AS name FROM runs ORDER BY 1`).map(
      ({ name }) => name,
    );
  expect(await forgetOldRuns(database.db, 90 * 86_400_000, 1)).toBe(1);
  expect(await left()).toEqual(["old", "running", "young"]);
  expect(await forgetOldRuns(database.db, 90 * 86_400_000, 10)).toBe(1);
  expect(await left()).toEqual(["running", "young"]);
  await database.close();
  await drop();
});
