import { afterAll, beforeAll, expect, test } from "vitest";
import { lockAgents } from "../../src/agents/agent-service.ts";
import type { AgentCaller } from "../../src/identity/caller.ts";
import { Refusal } from "../../src/runtime/refusal.ts";
import { inTransaction } from "../../src/storage/database.ts";
import { returnExpiredLeases } from "../../src/tasks/give-back.ts";
import { cancelTask } from "../../src/tasks/task-service.ts";
import { noneSpared, pack, startTaskFixture, type TaskFixture } from "./task-fixture.ts";

let fixture: TaskFixture;
beforeAll(async () => {
  fixture = await startTaskFixture({ backoff: { firstMs: 1, longestMs: 5 } });
});
afterAll(() => fixture.stop());

const enroll = (count: number, prefix: string) =>
  Promise.all(Array.from({ length: count }, (_, n) => fixture.enroll(`${prefix}-${n}`)));

test("32 claimers at once get 32 different tasks, over several kinds too", async () => {
  const agents = await enroll(32, "claimer");
  for (let round = 0; round < 5; round++) {
    const ids: string[] = [];
    for (let n = 0; n < 32; n++)
      ids.push(await fixture.add({ kind: n % 2 === 0 ? "even" : "odd", priority: n % 10 }));
    const kinds = round % 2 === 0 ? ["even", "odd"] : [];
    const claims = await Promise.all(agents.map((agent) => fixture.claim(agent, 1, kinds)));
    const claimed = claims.flat().map(({ id }) => id);
    expect(new Set(claimed).size).toBe(claimed.length);
    expect(claimed.sort()).toEqual(ids.sort());
    await Promise.all(
      agents.map(async (agent, n) => {
        for (const task of claims[n] ?? [])
          await fixture.loans.complete(agent, task.id, task.leaseEpoch, pack(n));
      }),
    );
  }
});

test("a result and a fatal heartbeat at once: one of them ends the attempt", async () => {
  for (let round = 0; round < 20; round++) {
    const agent = await fixture.enroll(`racer-${round}`);
    const id = await fixture.add({ kind: `race-${round}` });
    await fixture.claim(agent, 1, [`race-${round}`]);
    const [result, beat] = await Promise.allSettled([
      fixture.loans.complete(agent, id, 1n, pack("done")),
      fixture.beat(agent, { error: { severity: "fatal", message: "x", context: undefined } }),
    ]);
    expect(beat.status).toBe("fulfilled");
    const { task, staleResults } = await fixture.show(id);
    if (result.status === "fulfilled") {
      expect(task).toMatchObject({ state: "succeeded", retries: 0 });
      expect(staleResults).toEqual([]);
    } else {
      expect(task).toMatchObject({ state: "pending", retries: 1 });
      expect(staleResults).toHaveLength(1);
    }
    await fixture.database
      .sql`UPDATE tasks SET state = 'cancelled', finished_at = clock_timestamp() WHERE id = ${id} AND state = 'pending'`;
  }
});

/** Throws what is not a refusal. */
async function attempt(call: Promise<unknown>): Promise<void> {
  await call.catch((error: unknown) => {
    if (!(error instanceof Refusal) || error.kind === "unavailable") throw error;
  });
}

test("whatever happens at once, tasks keep their limits and attempts end once", async () => {
  const agents = await enroll(6, "worker");
  const ids: string[] = [];
  for (let n = 0; n < 40; n++) ids.push(await fixture.add({ kind: "storm", maxRetries: 2 }));
  let seed = 42;
  // A small linear congruence: the same storm at every run.
  const random = (below: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return Math.floor((seed / 2 ** 31) * below);
  };
  const settings = {
    backoff: fixture.rules.backoff,
    report: (_: unknown, error: unknown) => expect.unreachable(String(error)),
  };
  const work = async (agent: AgentCaller) => {
    for (let step = 0; step < 40; step++) {
      const tasks = await fixture.claim(agent, 1 + random(3), ["storm"]).catch(() => []);
      for (const { id, leaseEpoch } of tasks) {
        const choice = random(8);
        const error = { message: "x", context: undefined };
        if (choice < 2) await attempt(fixture.loans.complete(agent, id, leaseEpoch, pack(step)));
        else if (choice < 4)
          await attempt(fixture.loans.fail(agent, id, leaseEpoch, { error, retryable: true }));
        else if (choice === 4) await attempt(fixture.beat(agent, { status: "error" }));
        else if (choice === 5)
          await fixture.database
            .sql`UPDATE tasks SET lease_expires_at = clock_timestamp() WHERE id = ${id} AND state IN ('leased', 'running')`;
        else if (choice === 6) await attempt(fixture.loans.update(agent, id, leaseEpoch, { progress: 0.5 }));
        else {
          const wish = { reason: "", requestId: "" };
          await attempt(
            inTransaction(fixture.database.db, (tx) =>
              cancelTask(tx, fixture.operator, id, wish, fixture.rules),
            ),
          );
        }
      }
      if (random(4) === 0)
        await inTransaction(fixture.database.db, (tx) => returnExpiredLeases(tx, 10, noneSpared, settings));
      await attempt(fixture.beat(agent));
    }
  };
  await Promise.all(agents.map(work));
  const [counts] = await fixture.database.sql<Record<string, bigint>>`
    SELECT
      (SELECT count(*) FROM tasks WHERE kind = 'storm') AS tasks,
      (SELECT count(*) FROM tasks t WHERE t.kind = 'storm' AND t.attempt <> (SELECT count(*) FROM task_attempts a WHERE a.task_id = t.id)) AS miscounted,
      (SELECT count(*) FROM tasks t WHERE t.kind = 'storm' AND t.state NOT IN ('leased', 'running')
        AND EXISTS (SELECT 1 FROM task_attempts a WHERE a.task_id = t.id AND a.ended_at IS NULL)) AS open_though_ended,
      (SELECT count(*) FROM tasks t WHERE t.kind = 'storm' AND t.state IN ('leased', 'running')
        AND (SELECT count(*) FROM task_attempts a WHERE a.task_id = t.id AND a.ended_at IS NULL AND a.lease_epoch = t.lease_epoch) <> 1) AS lent_without_attempt,
      (SELECT count(*) FROM tasks t WHERE t.kind = 'storm' AND t.retries + t.losses < t.attempt - 1) AS unexplained,
      (SELECT count(*) FROM task_attempts a JOIN tasks t ON t.id = a.task_id WHERE t.kind = 'storm' AND a.outcome = 'succeeded' AND t.state <> 'succeeded') AS lost_results,
      (SELECT count(*) FROM task_attempts a JOIN task_attempts b ON a.task_id = b.task_id AND a.lease_epoch < b.lease_epoch
        WHERE a.ended_at IS NULL OR a.ended_at > b.began_at) AS overlapping`;
  expect(counts).toEqual({
    tasks: 40n,
    miscounted: 0n,
    open_though_ended: 0n,
    lent_without_attempt: 0n,
    unexplained: 0n,
    lost_results: 0n,
    overlapping: 0n,
  });
});

/** Lends a task of its own to each of so many agents. */
async function lendEach(count: number, kind: string) {
  const agents = await enroll(count, kind);
  return await Promise.all(
    agents.map(async (agent, n) => {
      const id = await fixture.add({ kind: `${kind}-${n}` });
      await fixture.claim(agent, 1, [`${kind}-${n}`]);
      return {
        agent,
        id,
        complete: (as: AgentCaller, epoch = 1n) => fixture.loans.complete(as, id, epoch, pack({ n })),
        update: (as: AgentCaller, epoch = 1n) => fixture.loans.update(as, id, epoch, { progress: n / 100 }),
      };
    }),
  );
}

const refusal = (result: PromiseSettledResult<unknown> | undefined) =>
  result?.status === "rejected" && result.reason instanceof Refusal
    ? (result.reason.reason ?? result.reason.kind)
    : result?.status;

test("results that come at once: each gets its own answer, and one that is refused harms no other", async () => {
  const lent = await lendEach(12, "many");
  const [first, second] = lent;
  if (first === undefined || second === undefined) throw new Error("there are twelve");
  const revoked: AgentCaller = { ...first.agent, authenticatedAtMs: -1e9 };
  const results = await Promise.allSettled([
    ...lent.slice(1).map(({ agent, complete }) => complete(agent)),
    second.complete(second.agent),
    second.complete(first.agent),
    first.complete(first.agent, 7n),
    first.complete(revoked),
  ]);
  expect(results.slice(0, 11).map(refusal)).toEqual(Array(11).fill("fulfilled"));
  expect(results.slice(11).map(refusal)).toEqual(["fulfilled", "not-found", "LEASE_LOST", "unauthenticated"]);
  for (const [n, { id }] of lent.entries()) {
    const { task } = await fixture.show(id);
    expect([n, task.state, task.result]).toEqual(
      n === 0 ? [0, "leased", undefined] : [n, "succeeded", `{"n":${n}}`],
    );
    const events = await fixture.database.sql`
      SELECT 1 FROM events WHERE task_id = ${id} AND type = 'task.succeeded'`;
    expect(events.length).toBe(n === 0 ? 0 : 1);
  }
});

test("updates that come at once: each accepts its own task, and one that is refused harms no other", async () => {
  const lent = await lendEach(12, "updated");
  const [first, second, last] = [lent[0], lent[1], lent.at(-1)];
  if (first === undefined || second === undefined || last === undefined) throw new Error("there are twelve");
  await fixture.beat(last.agent, { status: "error" });
  const revoked: AgentCaller = { ...first.agent, authenticatedAtMs: -1e9 };
  const results = await Promise.allSettled([
    ...lent.slice(1).map(({ agent, update }) => update(agent)),
    second.update(second.agent),
    second.update(first.agent),
    first.update(first.agent, 7n),
    first.update(revoked),
  ]);
  expect(results.map(refusal)).toEqual([
    ...Array(10).fill("fulfilled"),
    "AGENT_IN_ERROR",
    "fulfilled",
    "not-found",
    "LEASE_LOST",
    "unauthenticated",
  ]);
  for (const [n, { id }] of lent.slice(0, 11).entries()) {
    const { task } = await fixture.show(id);
    expect([n, task.state, task.progress]).toEqual(n === 0 ? [0, "leased", 0] : [n, "running", n / 100]);
    const events = await fixture.database.sql`
      SELECT 1 FROM events WHERE task_id = ${id} AND type = 'task.started' AND agent_name = ${`updated-${n}`}`;
    expect(events.length).toBe(n === 0 ? 0 : 1);
  }
});

test("what is said of a task whose agent somebody has locked keeps no other one waiting", async () => {
  const [held, busy, free] = await lendEach(3, "locked");
  if (held === undefined || busy === undefined || free === undefined) throw new Error("there are three");
  const locked = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  const holder = inTransaction(fixture.database.db, async (tx) => {
    await lockAgents(tx, [held.agent, busy.agent], { waiting: true });
    locked.resolve();
    await release.promise;
  });
  await locked.promise;
  const updating = busy.update(busy.agent);
  expect(await free.update(free.agent)).toMatchObject({ leaseEpoch: 1n });
  const waiting = held.complete(held.agent);
  expect((await free.complete(free.agent)).state).toBe("succeeded");
  for (const { id } of [held, busy]) expect((await fixture.show(id)).task.state).toBe("leased");
  release.resolve();
  await holder;
  expect(await updating).toMatchObject({ leaseEpoch: 1n });
  expect((await waiting).state).toBe("succeeded");
});
