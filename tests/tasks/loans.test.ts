import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { AgentCaller } from "../../src/identity/caller.ts";
import { pack, refusalOf, startTaskFixture, type TaskFixture } from "./task-fixture.ts";

let fixture: TaskFixture;
let gpu: AgentCaller;
let other: AgentCaller;

beforeAll(async () => {
  fixture = await startTaskFixture();
  gpu = await fixture.enroll("gpu-1");
  other = await fixture.enroll("gpu-2");
});
afterAll(() => fixture.stop());

async function lend(agent: AgentCaller, wish: Parameters<TaskFixture["add"]>[0] = {}) {
  const kind = `kind-${Math.random().toString(36).slice(2)}`;
  const taskId = await fixture.add({ kind, ...wish });
  const [task] = await fixture.claim(agent, 1, [wish.kind ?? kind]);
  if (task?.id !== taskId) throw new Error("another task was claimed");
  return task;
}

/** Makes a task due now that waits for its backoff, past the server. */
async function makeDue(taskId: string) {
  await fixture.database.sql`UPDATE tasks SET due_at = created_at WHERE id = ${taskId}`;
}

describe("claims", () => {
  test("come by priority, then by the time since which a task is due, and carry a lease", async () => {
    const late = await fixture.add({ kind: "order", priority: 5 });
    const low = await fixture.add({ kind: "order", priority: 0 });
    const later = await fixture.add({ kind: "order", priority: 5, payload: pack({ n: [1, null, "x"] }) });
    const high = await fixture.add({ kind: "order", priority: 9 });
    const claimed = await fixture.claim(gpu, 3, ["order"]);
    expect(claimed.map(({ id }) => id)).toEqual([high, late, later]);
    expect(claimed[2]).toMatchObject({
      state: "leased",
      attempt: 1,
      leaseEpoch: 1n,
      remainingMs: 60_000,
      agentName: "gpu-1",
      payload: '{"n":[1,null,"x"]}',
    });
    expect((await fixture.claim(gpu, 3, ["order"])).map(({ id }) => id)).toEqual([low]);
    expect(await fixture.claim(gpu, 3, ["order"])).toEqual([]);
    const kept = await fixture.add({ kind: "order" });
    expect(await fixture.claim(gpu, 0, ["order"])).toEqual([]);
    expect((await fixture.claim(gpu, 1, ["order"])).map(({ id }) => id)).toEqual([kept]);
  });

  test("take several kinds in one order, and any kind when none is named", async () => {
    const first = await fixture.add({ kind: "a", priority: 7 });
    const second = await fixture.add({ kind: "b", priority: 7 });
    const third = await fixture.add({ kind: "c", priority: 7 });
    expect((await fixture.claim(gpu, 2, ["c", "b", "a", "a"])).map(({ id }) => id)).toEqual([first, second]);
    expect((await fixture.claim(gpu, 1)).map(({ id }) => id)).toEqual([third]);
  });

  test("end before 3 MiB, with one task at least, and what does not fit stays", async () => {
    const payload = pack("x".repeat(250_000));
    const ids: string[] = [];
    for (let n = 0; n < 14; n++) ids.push(await fixture.add({ kind: "large", payload }));
    const claimed = await fixture.claim(gpu, 100, ["large"]);
    expect(claimed.map(({ id }) => id)).toEqual(ids.slice(0, 12));
    expect((await fixture.claim(gpu, 100, ["large"])).map(({ id }) => id)).toEqual(ids.slice(12));
  });

  test("skip what waits for a later moment, however much of it there is", async () => {
    await fixture.database.sql`
      INSERT INTO tasks (project_id, id, kind, priority, max_retries, due_at)
      SELECT ${fixture.projectId}::uuid, gen_random_uuid(), 'later', 9, 0, clock_timestamp() + interval '1 hour'
      FROM generate_series(1, 300)`;
    const due = await fixture.add({ kind: "later", priority: 0 });
    expect((await fixture.claim(gpu, 5, ["later"])).map(({ id }) => id)).toEqual([due]);
  });
});

describe("a loan", () => {
  test("runs from its first update on, and is renewed by each", async () => {
    const { id } = await lend(gpu);
    await fixture.database
      .sql`UPDATE tasks SET lease_expires_at = clock_timestamp() + interval '1 second' WHERE id = ${id}`;
    expect((await fixture.show(id)).task.state).toBe("leased");
    const lease = await fixture.loans.update(gpu, id, 1n, { progress: 0.25, detail: "a quarter" });
    expect(lease).toEqual({ leaseEpoch: 1n, remainingMs: 60_000 });
    const { task } = await fixture.show(id);
    expect(task).toMatchObject({ state: "running", progress: 0.25, detail: "a quarter" });
    expect(task.remainingMs).toBeGreaterThan(50_000);
    expect(task.startedAt).toBeDefined();
    await fixture.loans.update(gpu, id, 1n, { detail: "more" });
    const after = (await fixture.show(id)).task;
    expect(after).toMatchObject({ progress: 0.25, detail: "more", startedAt: task.startedAt });
  });

  test("past its end that nobody took back is revived by its holder", async () => {
    const { id } = await lend(gpu);
    await fixture.database
      .sql`UPDATE tasks SET lease_expires_at = clock_timestamp() - interval '1 minute' WHERE id = ${id}`;
    expect((await fixture.show(id)).task.remainingMs).toBe(0);
    await fixture.loans.update(gpu, id, 1n, {});
    expect((await fixture.show(id)).task.remainingMs).toBeGreaterThan(50_000);
  });

  test("ends with the result, and a repeat gets the first answer", async () => {
    const { id } = await lend(gpu);
    const done = await fixture.loans.complete(gpu, id, 1n, pack({ sum: 3 }));
    expect(done).toMatchObject({ state: "succeeded", result: '{"sum":3}', progress: 1, agentName: "gpu-1" });
    expect(done.remainingMs).toBeUndefined();
    expect(await fixture.loans.complete(gpu, id, 1n, pack("another"))).toEqual(done);
    expect((await fixture.show(id)).staleResults).toEqual([]);
    expect(await refusalOf(fixture.loans.update(gpu, id, 1n, {}))).toEqual({
      kind: "failed-precondition",
      reason: "LEASE_LOST",
    });
    expect(await fixture.audit(id)).toEqual(["task.created"]);
  });

  test("that failed waits longer each time, and is final when no retry is left", async () => {
    const { id } = await lend(gpu, { maxRetries: 2, kind: "backoff" });
    for (const [retry, seconds] of [1, 2].entries()) {
      const failed = await fixture.loans.fail(gpu, id, BigInt(retry + 1), {
        error: { message: "no luck", context: { try: retry } },
        retryable: true,
      });
      expect(failed).toMatchObject({
        state: "pending",
        retries: retry + 1,
        losses: 0,
        error: { message: "no luck", context: { try: retry } },
      });
      const [row] = await fixture.database.sql<{ wait: number }>`
        SELECT extract(epoch FROM t.due_at - a.ended_at)::float8 AS wait FROM tasks t
        JOIN task_attempts a ON a.task_id = t.id AND a.lease_epoch = t.lease_epoch WHERE t.id = ${id}`;
      expect(row?.wait).toBeCloseTo(seconds, 2);
      expect(failed.nextAttemptAt).toBeDefined();
      expect(await fixture.claim(gpu, 1, ["backoff"])).toEqual([]);
      await makeDue(id);
      const [again] = await fixture.claim(gpu, 1, ["backoff"]);
      expect(again).toMatchObject({
        id,
        attempt: retry + 2,
        leaseEpoch: BigInt(retry + 2),
        error: undefined,
      });
    }
    const last = await fixture.loans.fail(gpu, id, 3n, {
      error: { message: "done", context: undefined },
      retryable: true,
    });
    expect(last).toMatchObject({ state: "failed", retries: 2, error: { message: "done" } });
    expect(await fixture.audit(id)).toEqual([
      "task.created",
      "task.requeued",
      "task.requeued",
      "task.failed",
    ]);
    const attempts = await fixture.database.sql<{ outcome: string; error_message: string }>`
      SELECT outcome, error_message FROM task_attempts WHERE task_id = ${id} ORDER BY number`;
    expect(attempts.map(({ outcome }) => outcome)).toEqual(["failed", "failed", "failed"]);
  });

  test("that failed for good is not tried again, and a repeat of the failure is answered", async () => {
    const { id } = await lend(gpu);
    const failure = { error: { message: "never", context: undefined }, retryable: false };
    const failed = await fixture.loans.fail(gpu, id, 1n, failure);
    expect(failed).toMatchObject({ state: "failed", retries: 0 });
    expect(await fixture.loans.fail(gpu, id, 1n, failure)).toEqual(failed);
    expect((await fixture.show(id)).staleResults).toEqual([]);
  });
});

describe("a write under an old loan", () => {
  test("is LEASE_LOST for one who once held the task, and its result is kept once", async () => {
    const { id } = await lend(gpu, { kind: "stale" });
    await fixture.loans.fail(gpu, id, 1n, { error: { message: "x", context: undefined }, retryable: true });
    await makeDue(id);
    await fixture.claim(other, 1, ["stale"]);
    const lost = { kind: "failed-precondition", reason: "LEASE_LOST" };
    expect(await refusalOf(fixture.loans.update(gpu, id, 1n, {}))).toEqual(lost);
    expect(await refusalOf(fixture.loans.complete(gpu, id, 1n, pack({ late: true })))).toEqual(lost);
    expect(await refusalOf(fixture.loans.complete(gpu, id, 1n, pack({ late: true })))).toEqual(lost);
    const { task, staleResults } = await fixture.show(id);
    expect(task).toMatchObject({ state: "leased", agentName: "gpu-2", leaseEpoch: 2n, result: undefined });
    expect(staleResults).toMatchObject([
      { agentName: "gpu-1", leaseEpoch: 1n, kind: "complete", result: '{"late":true}' },
    ]);
    // The new holder's epoch does not help the old one.
    expect(await refusalOf(fixture.loans.complete(gpu, id, 2n, undefined))).toEqual(lost);
    expect((await fixture.loans.complete(other, id, 2n, pack(1))).state).toBe("succeeded");
  });

  test("is NOT_FOUND for anyone else, also for no task at all, and nothing of it is kept", async () => {
    const { id } = await lend(gpu);
    const missing = { kind: "not-found", reason: undefined };
    expect(await refusalOf(fixture.loans.complete(other, id, 1n, pack("mine")))).toEqual(missing);
    expect(await refusalOf(fixture.loans.update(other, id, 1n, {}))).toEqual(missing);
    const error = { message: "x", context: undefined };
    expect(await refusalOf(fixture.loans.fail(other, id, 1n, { error, retryable: true }))).toEqual(missing);
    const nothing = "01900000-0000-7000-8000-000000000000";
    expect(await refusalOf(fixture.loans.complete(gpu, nothing, 1n, undefined))).toEqual(missing);
    expect((await fixture.show(id)).staleResults).toEqual([]);
  });

  test("keeps the newest ten refused results", async () => {
    const { id } = await lend(gpu, { kind: "many" });
    await fixture.loans.complete(gpu, id, 1n, undefined);
    for (let epoch = 2n; epoch < 15n; epoch++) {
      await refusalOf(fixture.loans.complete(gpu, id, epoch, pack(Number(epoch))));
    }
    const { staleResults } = await fixture.show(id);
    expect(staleResults.map(({ leaseEpoch }) => Number(leaseEpoch))).toEqual([
      14, 13, 12, 11, 10, 9, 8, 7, 6, 5,
    ]);
  });
});

describe("an agent in error", () => {
  test("claims, updates and ends nothing; what it sends is kept as stale", async () => {
    const sick = await fixture.enroll("sick");
    const { id } = await lend(sick, { kind: "sick" });
    const { taskFailures } = await fixture.beat(sick, {
      error: { severity: "fatal", message: "on fire", context: undefined },
    });
    expect(taskFailures).toEqual({ attempted: 1, requeued: 1, failed: 0 });
    const inError = { kind: "failed-precondition", reason: "AGENT_IN_ERROR" };
    expect(await refusalOf(fixture.claim(sick))).toEqual(inError);
    expect(await refusalOf(fixture.loans.update(sick, id, 1n, {}))).toEqual(inError);
    expect(await refusalOf(fixture.loans.complete(sick, id, 1n, pack("late")))).toEqual(inError);
    const error = { message: "x", context: undefined };
    expect(await refusalOf(fixture.loans.fail(sick, id, 1n, { error, retryable: true }))).toEqual(inError);
    const { task, staleResults } = await fixture.show(id);
    expect(task).toMatchObject({ state: "pending", retries: 1 });
    expect(staleResults.map(({ kind }) => kind).sort()).toEqual(["complete", "fail"]);
    await fixture.beat(sick, { status: "online" });
    await makeDue(id);
    expect((await fixture.claim(sick, 1, ["sick"])).map((again) => again.leaseEpoch)).toEqual([2n]);
  });
});
