import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { startTaskFixture, type TaskFixture } from "../tasks/task-fixture.ts";
import { livenessOf, type Sweep, silence, startSweep, watchSince } from "./sweep-fixture.ts";

let fixture: TaskFixture;
const databases: Database[] = [];
let sweeps: Sweep[] = [];
beforeAll(async () => {
  fixture = await startTaskFixture();
  await watchSince(fixture, 86_400);
});
afterEach(async () => {
  await Promise.all(sweeps.map(({ sweeper }) => sweeper.stop()));
  sweeps = [];
});
afterAll(async () => {
  await Promise.all(databases.map((database) => database.close()));
  await fixture.stop();
});

async function startServers(count: number): Promise<Sweep[]> {
  sweeps = await Promise.all(
    Array.from({ length: count }, (_, number) => {
      const database = openDatabase({ url: fixture.url, applicationName: `server-${number}` });
      databases.push(database);
      return startSweep(fixture, database);
    }),
  );
  return sweeps;
}

const sweeping = (all: Sweep[]) =>
  waitFor(() => all.find((sweep) => sweep.rounds() > 0), { what: "one that sweeps" });

test("of three servers one sweeps, and each loss is told and audited once", async () => {
  const count = 450;
  await fixture.database.sql`
    WITH made AS (
      INSERT INTO agents (project_id, id, name)
      SELECT ${fixture.projectId}::uuid, gen_random_uuid(), 'lost-' || number
      FROM generate_series(1, ${count}) AS number
      RETURNING project_id, id
    )
    INSERT INTO agent_states (project_id, agent_id, liveness, status, version, last_seen_at)
    SELECT project_id, id, 'live', 'online', 2, clock_timestamp() - interval '1 hour' FROM made`;
  const all = await startServers(3);
  await waitFor(() => all.reduce((sum, { losses }) => sum + losses.length, 0) >= count, {
    what: "every loss",
  });
  await (await sweeping(all)).settled();
  expect(all.filter((sweep) => sweep.rounds() > 0)).toHaveLength(1);
  const losses = all.flatMap((sweep) => sweep.losses.map(({ agentId }) => agentId));
  expect(new Set(losses).size).toBe(count);
  expect(losses).toHaveLength(count);
  const rows = await fixture.database.sql`
    SELECT count(*)::int AS entries, count(DISTINCT subject)::int AS agents, min(version)::int AS version
    FROM audit_entries WHERE field = 'liveness'`;
  expect(rows).toEqual([{ entries: count, agents: count, version: 3 }]);
  expect(all.flatMap(({ failures }) => failures)).toEqual([]);
});

test.each([
  ["stops", (sweep: Sweep) => sweep.sweeper.stop()],
  [
    "loses its connection",
    async () => {
      await fixture.database.sql`
        SELECT pg_terminate_backend(pid) FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND objsubid = 1
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`;
    },
  ],
])("when the one that sweeps %s, somebody goes on", async (_, end) => {
  const all = await startServers(2);
  const leader = await sweeping(all);
  await end(leader);
  const rounds = () => all.reduce((sum, sweep) => sum + sweep.rounds(), 0);
  const before = rounds();
  const agent = await fixture.enroll(`lost-after-${_.length}`);
  await fixture.beat(agent);
  await silence(fixture, agent, 300);
  await waitFor(async () => (await livenessOf(fixture, agent)) === "offline", { what: "the loss" });
  // The loss is told before the round that finds it has ended.
  await waitFor(() => rounds() > before, { what: "the end of a round" });
});
