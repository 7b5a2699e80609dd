import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { AgentCaller } from "../../src/identity/caller.ts";
import { inTransaction } from "../../src/storage/database.ts";
import {
  extendLeases,
  findOfflineHolders,
  type GiveBackReason,
  giveBackTasks,
  returnExpiredLeases,
  timeOutAttempts,
} from "../../src/tasks/give-back.ts";
import { noneSpared, pack, refusalOf, startTaskFixture, type TaskFixture } from "./task-fixture.ts";

let fixture: TaskFixture;
beforeAll(async () => {
  fixture = await startTaskFixture();
});
afterAll(() => fixture.stop());

const settings = () => ({ backoff: fixture.rules.backoff, report: () => {} });
const returnExpired = (limit = 100) =>
  inTransaction(fixture.database.db, (tx) => returnExpiredLeases(tx, limit, noneSpared, settings()));
const timeOut = async () =>
  (await inTransaction(fixture.database.db, (tx) => timeOutAttempts(tx, 100, noneSpared, settings())))
    .changes;

async function lend(
  wish: Parameters<TaskFixture["add"]>[0] = {},
): Promise<{ agent: AgentCaller; id: string; kind: string }> {
  const kind = `agent-${Math.random().toString(36).slice(2)}`;
  const agent = await fixture.enroll(kind);
  const id = await fixture.add({ ...wish, kind });
  await fixture.claim(agent, 1, [kind]);
  return { agent, id, kind };
}

const endLease = (id: string) =>
  fixture.database
    .sql`UPDATE tasks SET lease_expires_at = clock_timestamp() - interval '1 second' WHERE id = ${id}`;
const setLiveness = ({ agentId }: AgentCaller, liveness: string) =>
  fixture.database.sql`UPDATE agent_states SET liveness = ${liveness} WHERE agent_id = ${agentId}`;
const stateOf = async (id: string) => (await fixture.show(id)).task;

describe("a lease that ended", () => {
  test.each(["live", "never"])(
    "comes back as a loss while its agent is %s, at once and in its old place",
    async (liveness) => {
      const { agent, id, kind } = await lend();
      const younger = await fixture.add({ kind });
      await setLiveness(agent, liveness);
      expect(await returnExpired()).toEqual([]);
      await endLease(id);
      expect(await returnExpired()).toMatchObject([
        { type: "task.requeued", taskId: id, agentId: agent.agentId, leaseEpoch: 1n, dueInMs: 0 },
      ]);
      expect(await stateOf(id)).toMatchObject({ state: "pending", losses: 1, retries: 0 });
      expect((await fixture.claim(agent, 2, [kind])).map((task) => task.id)).toEqual([id, younger]);
      const late = fixture.loans.complete(agent, id, 1n, pack("late"));
      expect(await refusalOf(late)).toEqual({ kind: "failed-precondition", reason: "LEASE_LOST" });
    },
  );

  test("waits for what becomes of a stale agent, and an offline one is found", async () => {
    const { agent, id } = await lend();
    await endLease(id);
    await setLiveness(agent, "stale");
    expect(await returnExpired()).toEqual([]);
    await setLiveness(agent, "offline");
    expect(await returnExpired()).toEqual([]);
    const holder = { projectId: fixture.projectId, agentId: agent.agentId };
    expect(
      await inTransaction(fixture.database.db, (tx) => findOfflineHolders(tx, 10, { except: [] })),
    ).toEqual([holder]);
    const reason: GiveBackReason = {
      kind: "lost",
      message: "its agent is offline",
      origin: { actor: "server" },
      endedLeasesOnly: true,
    };
    const changes = await inTransaction(fixture.database.db, (tx) =>
      giveBackTasks(tx, [holder], reason, settings()),
    );
    expect(changes).toMatchObject([{ type: "task.requeued", taskId: id, reason: "its agent is offline" }]);
    expect(await stateOf(id)).toMatchObject({ state: "pending", losses: 1 });
  });

  test("is not taken back while it lasts, where only ended ones are meant", async () => {
    const { agent, id } = await lend();
    const holder = { projectId: fixture.projectId, agentId: agent.agentId };
    const give = (endedLeasesOnly: boolean) =>
      inTransaction(fixture.database.db, (tx) =>
        giveBackTasks(
          tx,
          [holder],
          { kind: "returned", message: "it left", origin: { actor: agent.actor }, endedLeasesOnly },
          settings(),
        ),
      );
    expect(await give(true)).toEqual([]);
    expect(await give(false)).toHaveLength(1);
    expect(await stateOf(id)).toMatchObject({ state: "pending", losses: 0, retries: 0 });
    const [attempt] = await fixture.database
      .sql`SELECT outcome, error_message FROM task_attempts WHERE task_id = ${id}`;
    expect(attempt).toEqual({ outcome: "returned", error_message: "it left" });
  });

  test("of another replica's round is skipped, and a round has its bound", async () => {
    const { id } = await lend();
    const { id: free } = await lend();
    await endLease(id);
    await endLease(free);
    await fixture.database.db.transaction(async (tx) => {
      await tx.execute(`SELECT 1 FROM tasks WHERE id = '${id}' FOR UPDATE`);
      expect((await returnExpired(10)).map(({ taskId }) => taskId)).toEqual([free]);
    });
    const { id: more } = await lend();
    await endLease(more);
    expect(await returnExpired(1)).toHaveLength(1);
    expect(await returnExpired(1)).toHaveLength(1);
    expect(await returnExpired(1)).toEqual([]);
  });

  test("can be moved by the time for which no server was there", async () => {
    const { id } = await lend();
    await endLease(id);
    await inTransaction(fixture.database.db, (tx) => extendLeases(tx, 30_000));
    expect((await stateOf(id)).remainingMs).toBeGreaterThan(25_000);
    expect(await returnExpired()).toEqual([]);
  });

  test("fails the task at its eleventh loss", async () => {
    const { id } = await lend();
    await fixture.database.sql`UPDATE tasks SET losses = 10 WHERE id = ${id}`;
    await endLease(id);
    expect(await returnExpired()).toMatchObject([{ type: "task.failed", to: "failed" }]);
    expect(await stateOf(id)).toMatchObject({ state: "failed", losses: 11, retries: 0 });
  });
});

describe("an attempt that runs too long", () => {
  const age = (id: string) =>
    fixture.database.sql`
      UPDATE tasks SET leased_at = leased_at - interval '10 s', started_at = started_at - interval '10 s' WHERE id = ${id}`;

  test("burns a retry, whether its agent called it begun or not", async () => {
    const silent = await lend({ timeoutMs: 5_000 });
    const begun = await lend({ timeoutMs: 5_000, maxRetries: 0 });
    const unlimited = await lend();
    await fixture.loans.update(begun.agent, begun.id, 1n, {});
    expect(await timeOut()).toEqual([]);
    for (const { id } of [silent, begun, unlimited]) await age(id);
    expect((await timeOut()).map(({ type, taskId }) => [type, taskId])).toEqual(
      expect.arrayContaining([
        ["task.requeued", silent.id],
        ["task.failed", begun.id],
      ]),
    );
    expect(await stateOf(silent.id)).toMatchObject({ state: "pending", retries: 1, losses: 0 });
    expect(await stateOf(begun.id)).toMatchObject({
      state: "failed",
      error: { message: "the attempt ran longer than its task allows" },
    });
    expect((await stateOf(unlimited.id)).state).toBe("leased");
  });

  test("counts from where it began, not from the loan", async () => {
    const { agent, id } = await lend({ timeoutMs: 5_000 });
    await age(id);
    await fixture.loans.update(agent, id, 1n, {});
    expect(await timeOut()).toEqual([]);
  });
});
