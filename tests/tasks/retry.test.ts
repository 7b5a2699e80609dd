import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { AgentCaller } from "../../src/identity/caller.ts";
import { inTransaction } from "../../src/storage/database.ts";
import { parseTimestamptz } from "../../src/storage/timestamptz.ts";
import { cancelTask, retryTask } from "../../src/tasks/task-service.ts";
import { pack, refusalOf, startTaskFixture, type TaskFixture } from "./task-fixture.ts";

let fixture: TaskFixture;
let gpu: AgentCaller;
beforeAll(async () => {
  fixture = await startTaskFixture();
  gpu = await fixture.enroll("gpu-1");
});
afterAll(() => fixture.stop());

const again = { reason: "", requestId: "" };
const retry = (id: string) =>
  inTransaction(fixture.database.db, (tx) => retryTask(tx, fixture.operator, id, again, fixture.rules));
const failure = (retryable: boolean) => ({ error: { message: "no", context: undefined }, retryable });

describe("a retry", () => {
  test("gives a failed task all of its chances anew; its epoch and its attempts go on", async () => {
    const id = await fixture.add({ kind: "r1", maxRetries: 1 });
    await fixture.claim(gpu, 1, ["r1"]);
    await fixture.loans.fail(gpu, id, 1n, failure(false));
    const [change] = await retry(id);
    expect(change).toMatchObject({ type: "task.requeued", from: "failed", to: "pending", dueInMs: 0 });
    expect((await fixture.show(id)).task).toMatchObject({ state: "pending", retries: 0, error: undefined });
    const [task] = await fixture.claim(gpu, 1, ["r1"]);
    expect(task).toMatchObject({ id, attempt: 2, leaseEpoch: 2n });
    expect(await refusalOf(fixture.loans.complete(gpu, id, 1n, undefined))).toMatchObject({
      reason: "LEASE_LOST",
    });
    expect(await refusalOf(retry(id))).toEqual({ kind: "failed-precondition", reason: "TASK_LENT" });
    await fixture.loans.complete(gpu, id, 2n, undefined);
    expect(await refusalOf(retry(id))).toEqual({ kind: "failed-precondition", reason: "TASK_ENDED" });
    expect(await fixture.audit(id)).toEqual(["task.created", "task.failed", "task.requeued"]);
  });

  test("takes back a cancellation", async () => {
    const id = await fixture.add({ kind: "r2" });
    await inTransaction(fixture.database.db, (tx) =>
      cancelTask(tx, fixture.operator, id, again, fixture.rules),
    );
    await retry(id);
    expect((await fixture.claim(gpu, 1, ["r2"])).map((task) => task.id)).toEqual([id]);
  });

  test("ends a backoff, which is no change of state, and not what the task was to wait for", async () => {
    const id = await fixture.add({ kind: "r3" });
    await fixture.claim(gpu, 1, ["r3"]);
    await fixture.loans.fail(gpu, id, 1n, failure(true));
    expect(await fixture.claim(gpu, 1, ["r3"])).toEqual([]);
    expect(await retry(id)).toHaveLength(1);
    expect(await retry(id)).toEqual([]);
    expect(await fixture.audit(id)).toEqual(["task.created", "task.requeued"]);
    expect((await fixture.claim(gpu, 1, ["r3"])).map((task) => task.id)).toEqual([id]);
    const later = await fixture.add({ kind: "r4", notBefore: parseTimestamptz("2900-01-01 00:00:00+00") });
    expect(await retry(later)).toEqual([]);
    expect(await fixture.claim(gpu, 1, ["r4"])).toEqual([]);
  });

  test("of a task that is not there is NOT_FOUND", async () => {
    expect(await refusalOf(retry("01920000-0000-7000-8000-000000000002"))).toMatchObject({
      kind: "not-found",
    });
  });
});

describe("a moment before which nobody gets a task", () => {
  test("holds it back, and is its place among the others afterwards", async () => {
    const { sql } = fixture.database;
    const first = await fixture.add({ kind: "n1", notBefore: parseTimestamptz("2900-01-01 00:00:00+00") });
    const second = await fixture.add({ kind: "n1" });
    expect((await fixture.show(first)).task.nextAttemptAt).toEqual(
      (await fixture.show(first)).task.notBefore,
    );
    expect((await fixture.claim(gpu, 5, ["n1"])).map(({ id }) => id)).toEqual([second]);
    await sql`UPDATE tasks SET due_at = clock_timestamp(), not_before = clock_timestamp() WHERE id = ${first}`;
    const third = await fixture.add({ kind: "n1" });
    expect((await fixture.claim(gpu, 5, ["n1"])).map(({ id }) => id)).toEqual([first, third]);
  });

  test("in the past holds nothing back", async () => {
    const id = await fixture.add({ kind: "n2", notBefore: parseTimestamptz("0001-01-01 00:00:00+00") });
    expect((await fixture.claim(gpu, 1, ["n2"])).map((task) => task.id)).toEqual([id]);
  });
});

describe("a checkpoint", () => {
  test("goes with the next attempt, by an update or a heartbeat, and ends with the task", async () => {
    const id = await fixture.add({ kind: "c1" });
    await fixture.claim(gpu, 1, ["c1"]);
    await fixture.loans.update(gpu, id, 1n, { checkpoint: pack({ at: 1 }) });
    await fixture.loans.update(gpu, id, 1n, { progress: 0.5 });
    expect((await fixture.show(id)).task.checkpoint).toBe('{"at":1}');
    const currentTask = { taskId: `task_${id}`, leaseEpoch: 1n, checkpoint: pack(["é", null]) };
    await fixture.beat(gpu, { tasks: { currentTask, heldLeases: [] } });
    await fixture.loans.fail(gpu, id, 1n, failure(true));
    await retry(id);
    const [task] = await fixture.claim(gpu, 1, ["c1"]);
    expect(task).toMatchObject({ id, attempt: 2, checkpoint: '["é",null]', progress: 0 });
    expect((await fixture.loans.complete(gpu, id, 2n, undefined)).checkpoint).toBeUndefined();
  });
});
