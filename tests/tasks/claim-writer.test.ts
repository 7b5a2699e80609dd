import { afterAll, beforeAll, expect, test } from "vitest";
import { forgetAgent, lockAgents } from "../../src/agents/agent-service.ts";
import { insertAgent } from "../../src/agents/agent-store.ts";
import type { AgentCaller } from "../../src/identity/caller.ts";
import { ensureProject } from "../../src/projects/project-store.ts";
import { Refusal } from "../../src/runtime/refusal.ts";
import { newUuid } from "../../src/runtime/resource-id.ts";
import { inTransaction } from "../../src/storage/database.ts";
import { meets, type Offer } from "../../src/tasks/match-task.ts";
import { startTaskFixture, type TaskFixture } from "./task-fixture.ts";

let fixture: TaskFixture;
beforeAll(async () => {
  fixture = await startTaskFixture();
});
afterAll(() => fixture.stop());

const enroll = (count: number, prefix: string, offers: readonly Offer[] = []) =>
  Promise.all(
    Array.from({ length: count }, (_, n) => fixture.enroll(`${prefix}-${n}`, offers[n % offers.length])),
  );

/** Claims that are made at once meet in one transaction; tells what came of each, in their order. */
async function claimAtOnce(agents: readonly AgentCaller[], kind: string, max = 1) {
  const claims = agents.map((agent) => fixture.claims.claimNow(agent, { kinds: [kind], max }));
  return await Promise.all(
    claims.map((claim) =>
      claim.then(
        ({ tasks }) => tasks,
        (error: unknown) => {
          if (error instanceof Refusal) return error.reason ?? error.kind;
          throw error;
        },
      ),
    ),
  );
}

/** Moments at which tasks of the kind were lent: one for each transaction. */
async function momentsOf(kind: string): Promise<number> {
  const rows = await fixture.database
    .sql`SELECT DISTINCT leased_at FROM tasks WHERE kind = ${kind} AND attempt > 0`;
  return rows.length;
}

test("agents that claim at once get what each may run, each its first before anyone a second", async () => {
  const kind = "mixed";
  const offers: Offer[] = [
    { capabilities: [], labels: {} },
    { capabilities: ["cuda"], labels: { host: "one" } },
    { capabilities: ["cuda", "fp16"], labels: { zone: "a" } },
    { capabilities: [], labels: { zone: "a", host: "two" } },
  ];
  const rare = { capabilities: ["rare"], labels: {} };
  // Of each thing that is required there are as many tasks as agents have exactly that.
  for (const requirements of [...offers, rare])
    for (let n = 0; n < 6; n++) await fixture.add({ kind, priority: n % 10, requirements });
  const agents = await enroll(24, kind, offers);
  const answers = await claimAtOnce(agents, kind, 3);
  const lent = answers.flatMap((tasks, place) => {
    if (typeof tasks === "string") throw new Error(tasks);
    const offer = offers[place % offers.length];
    for (const { requirements } of tasks) expect(offer && meets(requirements, offer)).toBe(true);
    expect(tasks.map(({ agentName }) => agentName)).toEqual(tasks.map(() => agents[place]?.agentName));
    return tasks.map(({ id }) => id);
  });
  expect(new Set(lent).size).toBe(lent.length);
  expect(await momentsOf(kind)).toBe(1);
  const left = await fixture.database.sql<{ requirements: string }>`
    SELECT requirements FROM tasks WHERE kind = ${kind} AND state = 'pending'`;
  expect(left.map(({ requirements }) => JSON.parse(requirements))).toEqual(Array(6).fill(rare));
  const [facts] = await fixture.database.sql<{ attempts: bigint; events: bigint }>`
    SELECT (SELECT count(*) FROM task_attempts a JOIN tasks t ON t.id = a.task_id
        WHERE t.kind = ${kind} AND a.agent_id = t.agent_id AND a.lease_epoch = 1 AND a.began_at = t.leased_at) AS attempts,
      (SELECT count(*) FROM events e JOIN tasks t ON t.id = e.task_id
        WHERE t.kind = ${kind} AND e.type = 'task.leased' AND e.agent_id = t.agent_id) AS events`;
  expect(facts).toEqual({ attempts: BigInt(lent.length), events: BigInt(lent.length) });

  const few = await enroll(4, "few");
  for (let n = 0; n < 6; n++) await fixture.add({ kind: "few" });
  const dealt = await claimAtOnce(few, "few", 5);
  expect(dealt.map(({ length }) => length)).toEqual([2, 2, 1, 1]);
});

test("where a batch is full of bytes, those who got nothing are served by themselves", async () => {
  const kind = "large";
  const agents = await enroll(20, kind);
  // What an answer would take is a column: there is no need to store megabytes.
  await fixture.database.sql`
    INSERT INTO tasks (project_id, id, kind, priority, max_retries, payload_bytes)
    SELECT ${fixture.projectId}::uuid, gen_random_uuid(), ${kind}, 5, 0, 1000000 FROM generate_series(1, 20)`;
  const answers = await claimAtOnce(agents, kind);
  expect(answers.map(({ length }) => length)).toEqual(Array(20).fill(1));
  // Sixteen MiB are one transaction's.
  expect(await momentsOf(kind)).toBe(1 + 4);
});

test("claims that are refused harm no other one, and projects get their own", async () => {
  const { database, projectId } = fixture;
  const kind = "refused";
  const good = await enroll(6, kind);
  const [failed, cordoned, removed, unheard] = await enroll(4, `not-${kind}`);
  if (!failed || !cordoned || !removed || !unheard) throw new Error("there are four");
  await fixture.beat(failed, { status: "error" });
  await database.sql`UPDATE agent_states SET cordon = 'cordoned' WHERE agent_id = ${cordoned.agentId}`;
  await inTransaction(database.db, (tx) => forgetAgent(tx, projectId, removed.agentId));
  const revoked: AgentCaller = { ...unheard, authenticatedAtMs: -1e9 };
  const stranger = await strangerWithTask(kind);
  for (let n = 0; n < 12; n++) await fixture.add({ kind });

  const all = [failed, ...good, cordoned, removed, stranger.agent, revoked];
  const answers = await claimAtOnce(all, kind);
  expect(answers.map((answer) => (typeof answer === "string" ? answer : answer.length))).toEqual([
    "AGENT_IN_ERROR",
    ...good.map(() => 1),
    "AGENT_CORDONED",
    "AGENT_REMOVED",
    1,
    "unauthenticated",
  ]);
  expect(answers[9]).toMatchObject([{ id: stranger.taskId }]);
  // Nothing stays of what was lent to a revoked token.
  expect(await fixture.database.sql`SELECT 1 FROM task_attempts WHERE agent_id = ${revoked.agentId}`).toEqual(
    [],
  );
  expect(await momentsOf(kind)).toBe(1);
});

/** An agent of another project, and a task of that project. */
async function strangerWithTask(kind: string): Promise<{ agent: AgentCaller; taskId: string }> {
  const { db, sql } = fixture.database;
  const { id: projectId, name: project } = await ensureProject(db, newUuid(), "other");
  const like = await fixture.enroll("stranger");
  const agent: AgentCaller = { ...like, projectId, project, agentId: newUuid() };
  const none = { labels: {}, capabilities: [], deviceInfo: null };
  await inTransaction(db, (tx) =>
    insertAgent(tx, { projectId, id: agent.agentId, name: "stranger", ...none }),
  );
  const taskId = newUuid();
  await sql`
    INSERT INTO tasks (project_id, id, kind, priority, max_retries) VALUES (${projectId}, ${taskId}, ${kind}, 5, 0)`;
  return { agent, taskId };
}

test("a claim that cannot be served fails alone, and one whose agent is locked keeps no other waiting", async () => {
  const kind = "faulty";
  const [cursed, held, ...others] = await enroll(5, kind);
  if (!cursed || !held) throw new Error("there are five");
  for (let n = 0; n < 5; n++) await fixture.add({ kind });
  await fixture.database.sql`
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''cursed''; END'`;
  await fixture.database.sql([
    `CREATE TRIGGER refuse BEFORE INSERT ON task_attempts FOR EACH ROW WHEN (NEW.agent_id = '${cursed.agentId}') EXECUTE FUNCTION refuse()`,
  ] as unknown as TemplateStringsArray);
  const locked = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  const holder = inTransaction(fixture.database.db, async (tx) => {
    await lockAgents(tx, [held], { waiting: true });
    locked.resolve();
    await release.promise;
  });
  await locked.promise;
  const faulty = expect(claimAtOnce([cursed], kind)).rejects.toThrow("cursed");
  const waiting = claimAtOnce([held], kind);
  const answers = await claimAtOnce(others, kind);
  expect(answers.map(({ length }) => length)).toEqual([1, 1, 1]);
  await faulty;
  expect(await fixture.database.sql`SELECT 1 FROM task_attempts WHERE agent_id = ${held.agentId}`).toEqual(
    [],
  );
  release.resolve();
  await holder;
  expect((await waiting).map(({ length }) => length)).toEqual([1]);
});
