import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { AgentCaller } from "../../src/identity/caller.ts";
import { type Database, type Db, inTransaction, openDatabase } from "../../src/storage/database.ts";
import { ClaimService } from "../../src/tasks/claim-service.ts";
import { ClaimWriter } from "../../src/tasks/claim-writer.ts";
import type { Requirements } from "../../src/tasks/match-task.ts";
import { matchTask, meets } from "../../src/tasks/match-task.ts";
import { forgetUnusedRequirementSets, requirementSetId } from "../../src/tasks/requirement-store.ts";
import type { TaskRecord } from "../../src/tasks/task-store.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { forever, pack, startTaskFixture, type TaskFixture } from "./task-fixture.ts";

let fixture: TaskFixture;
beforeAll(async () => {
  fixture = await startTaskFixture();
});
afterAll(() => fixture.stop());

const words = fc.constantFrom("a", "b", "c", "__proto__", "it's", "ä");
const requirements: fc.Arbitrary<Requirements> = fc.record({
  capabilities: fc.uniqueArray(words, { maxLength: 3 }),
  labels: fc
    .uniqueArray(fc.tuple(words, words), { maxLength: 3, selector: ([key]) => key })
    .map((pairs) => Object.fromEntries(pairs)),
});

test("what an agent lacks is named, one thing after another", () => {
  const wanted = { capabilities: ["cuda", "fp16"], labels: { zone: "a", toString: "x" } };
  expect(matchTask(wanted, { capabilities: ["fp16"], labels: { zone: "b" } })).toEqual([
    { kind: "capability", capability: "cuda" },
    { kind: "label", key: "zone", wanted: "a", has: "b" },
    { kind: "label", key: "toString", wanted: "x", has: undefined },
  ]);
});

test("sets of the same content have the same id, in whatever order they are named", () => {
  fc.assert(
    fc.property(requirements, requirements, (one, other) => {
      const turned = {
        capabilities: one.capabilities.toReversed(),
        labels: Object.fromEntries(Object.entries(one.labels).toReversed()),
      };
      expect(requirementSetId(turned)).toBe(requirementSetId(one));
      const same = meets(one, other) && meets(other, one);
      expect(requirementSetId(one) === requirementSetId(other)).toBe(same);
    }),
  );
});

test("a claim takes exactly those tasks whose requirements the agent meets by the pure rule", async () => {
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(requirements, { maxLength: 6 }), requirements, async (wanted, offer) => {
      run += 1;
      const kind = `match-${run}`;
      const agent = await fixture.enroll(kind, offer);
      const ids: string[] = [];
      for (const each of wanted) ids.push(await fixture.add({ kind, requirements: each }));
      const expected = ids.filter((_, place) => meets(wanted[place] ?? offer, offer));
      expect((await fixture.claim(agent, 100, [kind])).map(({ id }) => id)).toEqual(expected);
    }),
    { numRuns: 40 },
  );
});

/** On a connection of its own, whose end tells what it has read. */
async function alone(use: (database: Database) => Promise<void>): Promise<void> {
  const database = openDatabase({ url: fixture.url, applicationName: "alone", maxConnections: 1 });
  await use(database).finally(() => database.close());
}

/** What takes up to five tasks for the agent, of any kind. */
function claimsOn(db: Db, agent: AgentCaller): () => Promise<TaskRecord[]> {
  const { rules, waiting } = fixture;
  const writer = new ClaimWriter(db, rules, (changes) => waiting.announce(changes));
  const claims = new ClaimService(db, rules, waiting, writer);
  return async () => (await claims.claimNow(agent, { kinds: [], max: 5 })).tasks;
}

/** Pages of the table and its indexes that statements have looked at, as far as they have told. */
async function blocksOfTasks(): Promise<number> {
  const [row] = await fixture.database.sql<{ blocks: bigint }>`
    SELECT (heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit)::bigint AS blocks
    FROM pg_statio_user_tables WHERE relname = 'tasks'`;
  return Number(row?.blocks ?? 0n);
}

test("a backlog that the agent must not touch is not read by its claim", async () => {
  await fixture.add({ kind: "wall", priority: 9, requirements: { capabilities: ["rare"], labels: {} } });
  await alone(async ({ sql }) => {
    await sql`
      INSERT INTO tasks (project_id, id, kind, priority, max_retries, requirements, requirement_set)
      SELECT project_id, gen_random_uuid(), kind, 9, 0, requirements, requirement_set
      FROM tasks, generate_series(1, 20000) WHERE kind = 'wall'`;
    await sql`ANALYZE tasks`;
  });
  const id = await fixture.add({ kind: "wall", priority: 0 });
  const agent = await fixture.enroll("plain");
  const before = await blocksOfTasks();
  await alone(async ({ db }) => {
    const claim = claimsOn(db, agent);
    expect((await claim()).map((task) => task.id)).toEqual([id]);
    expect(await claim()).toEqual([]);
  });
  await waitFor(async () => (await blocksOfTasks()) > before);
  // Twenty thousand tasks take far more pages than the heads of a few index ranges do.
  expect((await blocksOfTasks()) - before).toBeLessThan(1_000);
  await fixture.database.sql`DELETE FROM tasks WHERE kind = 'wall'`;
});

test("a claim looks tasks up by their ids, also where the statistics know of none that waits", async () => {
  const { projectId } = fixture;
  const agent = await fixture.enroll("first");
  await fixture.database.sql`ANALYZE tasks`;
  await fixture.database.sql`
    INSERT INTO tasks (project_id, id, kind, priority, max_retries)
    SELECT ${projectId}::uuid, gen_random_uuid(), 'burst', 5, 0 FROM generate_series(1, 5000)`;
  const before = await entriesRead();
  await alone(async ({ db }) => {
    const claim = claimsOn(db, agent);
    for (let turn = 1; turn <= 8; turn += 1) expect(await claim()).toHaveLength(5);
  });
  await waitFor(async () => (await entriesRead()) > before);
  // Each claim reads the queue once at most, and not again to find what it has chosen.
  expect((await entriesRead()) - before).toBeLessThan(8 * 6_000);
  await fixture.database.sql`DELETE FROM tasks WHERE kind = 'burst'`;

  /** Entries of the table's indexes that statements have read, as far as they have told. */
  async function entriesRead(): Promise<number> {
    const [row] = await fixture.database.sql<{ entries: bigint }>`
      SELECT sum(idx_tup_read)::bigint AS entries FROM pg_stat_user_indexes WHERE relname = 'tasks'`;
    return Number(row?.entries ?? 0n);
  }
});

describe("a claim that waits", () => {
  const wait = (agent: Parameters<TaskFixture["claim"]>[0], kind: string) =>
    fixture.claims.claim(agent, { kinds: [kind], max: 1, waitMs: 20_000 }, forever);

  test("is woken for what its agent may run, and no other is in its place", async () => {
    const able = { capabilities: ["cuda"], labels: {} };
    const others = await Promise.all([1, 2, 3].map((n) => fixture.enroll(`unable-${n}`)));
    const claims = others.map((agent) => wait(agent, "woken"));
    const agent = await fixture.enroll("able", able);
    const claim = wait(agent, "woken");
    const id = await fixture.add({ kind: "woken", requirements: able });
    expect((await claim).map((task) => task.id)).toEqual([id]);
    for (const _ of others) await fixture.add({ kind: "woken" });
    expect((await Promise.all(claims)).flat()).toHaveLength(3);
  });

  test("gets what its agent has learned to run since", async () => {
    const agent = await fixture.enroll("learner");
    const claim = wait(agent, "learned");
    const id = await fixture.add({ kind: "learned", requirements: { capabilities: ["new"], labels: {} } });
    const profile = { labels: undefined, capabilities: ["new"], deviceInfo: undefined, gauges: undefined };
    await fixture.beat(agent, { profile });
    expect((await claim).map((task) => task.id)).toEqual([id]);
  });
});

describe("sets that no task needs", () => {
  const count = async () => (await fixture.database.sql`SELECT 1 FROM task_requirement_sets`).length;
  const forget = () => inTransaction(fixture.database.db, (tx) => forgetUnusedRequirementSets(tx, 1_000));

  test("are forgotten after a while, those of waiting and lent tasks are not", async () => {
    const { sql } = fixture.database;
    await sql`UPDATE tasks SET state = 'cancelled', finished_at = clock_timestamp() WHERE state = 'pending'`;
    await sql`UPDATE task_requirement_sets SET created_at = created_at - interval '2 hours'`;
    const lent = { capabilities: ["lent"], labels: {} };
    const agent = await fixture.enroll("lender", lent);
    await fixture.add({ kind: "lent", requirements: lent });
    await fixture.add({ kind: "waits", requirements: { capabilities: ["waits"], labels: {} } });
    await fixture.claim(agent, 1, ["lent"]);
    await sql`UPDATE task_requirement_sets SET created_at = created_at - interval '2 hours'`;
    expect(await forget()).toBeGreaterThan(0);
    const held = await sql<{ requirement_set: string }>`
      SELECT requirement_set FROM tasks WHERE kind IN ('lent', 'waits')`;
    const kept = await sql<{ id: string }>`SELECT id FROM task_requirement_sets`;
    const ids = kept.map(({ id }) => id);
    expect(held.every(({ requirement_set: id }) => ids.includes(id))).toBe(true);
    expect(await forget()).toBe(0);
  });

  test("come back with a task that is created while they are forgotten", async () => {
    const { sql } = fixture.database;
    const wanted = { capabilities: ["race"], labels: {} };
    const agent = await fixture.enroll("racer", wanted);
    for (let round = 0; round < 10; round++) {
      await sql`UPDATE task_requirement_sets SET created_at = created_at - interval '2 hours'`;
      const adds = [1, 2, 3].map(() => fixture.add({ kind: "race", requirements: wanted }));
      const [ids] = await Promise.all([Promise.all(adds), forget(), forget()]);
      expect((await fixture.claim(agent, 10, ["race"])).map(({ id }) => id).sort()).toEqual(ids.sort());
      for (const id of ids) await fixture.loans.complete(agent, id, 1n, pack(1));
    }
    expect(await count()).toBeGreaterThan(0);
  });
});
