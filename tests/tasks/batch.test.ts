import { afterAll, beforeAll, expect, test } from "vitest";
import { ensureProject } from "../../src/projects/project-store.ts";
import { newUuid } from "../../src/runtime/resource-id.ts";
import { inTransaction } from "../../src/storage/database.ts";
import { cancelTasks, retryTasks } from "../../src/tasks/batch-service.ts";
import type { TaskOrigin } from "../../src/tasks/task-service.ts";
import { pack, refusalOf, startTaskFixture, type TaskFixture } from "./task-fixture.ts";

let fixture: TaskFixture;
beforeAll(async () => {
  fixture = await startTaskFixture();
});
afterAll(() => fixture.stop());

const wish = { reason: "the plan changed", requestId: "r-1" };
const cancel = (ids: string[], caller: TaskOrigin = fixture.operator) =>
  inTransaction(fixture.database.db, (tx) => cancelTasks(tx, caller, ids, wish, fixture.rules));
const retry = (ids: string[]) =>
  inTransaction(fixture.database.db, (tx) => retryTasks(tx, fixture.operator, ids, wish, fixture.rules));
const stateOf = async (id: string) => (await fixture.show(id)).task.state;

test("a batch cancels what waits and what is lent, tells the agents, and leaves one entry for each", async () => {
  const kinds = ["lent", "running", "done"];
  const agent = await fixture.enroll("a");
  const [lent = "", running = "", done = ""] = await Promise.all(kinds.map((kind) => fixture.add({ kind })));
  await fixture.claim(agent, 3, kinds);
  await fixture.loans.update(agent, running, 1n, {});
  await fixture.loans.complete(agent, done, 1n, pack(1));
  const waiting = await fixture.add({ kind: "waiting" });
  const changes = await cancel([lent, running, done, waiting, newUuid()]);
  expect(changes.map(({ taskId }) => taskId).sort()).toEqual([lent, running, waiting].sort());
  for (const id of [lent, running, waiting]) {
    expect((await fixture.show(id)).task).toMatchObject({
      state: "cancelled",
      error: { message: "the plan changed" },
    });
    expect(
      await fixture.database.sql`
        SELECT action, actor, reason, request_id FROM audit_entries
        WHERE subject = ${`task_${id}`} AND action = 'task.cancelled'`,
    ).toEqual([
      { action: "task.cancelled", actor: "token:test", reason: "the plan changed", request_id: "r-1" },
    ]);
  }
  expect(await stateOf(done)).toBe("succeeded");
  const commands = await fixture.database.sql<{ task_id: string }>`
    SELECT task_id FROM agent_commands WHERE agent_id = ${agent.agentId} AND kind = 'cancelTask'`;
  expect(commands.map(({ task_id }) => task_id).sort()).toEqual([lent, running].sort());
  expect(await refusalOf(fixture.loans.complete(agent, running, 1n, pack(1)))).toMatchObject({
    reason: "LEASE_LOST",
  });
  expect(await cancel([lent, running, waiting])).toEqual([]);

  const again = await retry([lent, done, waiting]);
  expect(again.map(({ taskId, to, dueInMs }) => [taskId, to, dueInMs]).sort()).toEqual(
    [lent, waiting].map((id) => [id, "pending", 0]).sort(),
  );
  expect(await fixture.audit(waiting)).toEqual(["task.created", "task.cancelled", "task.requeued"]);
  expect((await fixture.claim(agent, 3, ["lent", "waiting"])).map(({ id }) => id).sort()).toEqual(
    [lent, waiting].sort(),
  );
});

test("a batch touches nothing of another project", async () => {
  const id = await fixture.add({ kind: "mine" });
  const other = await ensureProject(fixture.database.db, newUuid(), "other");
  expect(await cancel([id], { projectId: other.id, actor: "token:other" })).toEqual([]);
  expect(await stateOf(id)).toBe("pending");
});

test("batches beside claims, completions and each other end every task once", async () => {
  const agents = await Promise.all(["x", "y", "z"].map((name) => fixture.enroll(name)));
  const ids = await Promise.all(Array.from({ length: 30 }, () => fixture.add({ kind: "rush" })));
  const work = agents.map(async (agent) => {
    for (let round = 0; round < 5; round++)
      for (const task of await fixture.claim(agent, 2, ["rush"]))
        await fixture.loans.complete(agent, task.id, task.leaseEpoch, pack(1)).catch(() => {});
  });
  const batches = [ids, [...ids].reverse()].map(async (some) => {
    for (let at = 0; at < some.length; at += 6) await cancel(some.slice(at, at + 6));
  });
  await Promise.all([...work, ...batches]);
  await cancel(ids);
  const states = await Promise.all(ids.map(stateOf));
  expect(states.filter((state) => state !== "cancelled" && state !== "succeeded")).toEqual([]);
  const [row] = await fixture.database.sql<{ most: number }>`
    SELECT max(n)::int AS most FROM (SELECT count(*) AS n FROM audit_entries
      WHERE action = 'task.cancelled' GROUP BY subject) counted`;
  expect(row?.most).toBe(1);
});
