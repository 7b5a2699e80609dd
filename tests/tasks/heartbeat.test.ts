import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { AgentCaller } from "../../src/identity/caller.ts";
import { inTransaction } from "../../src/storage/database.ts";
import { cancelTask, currentTasks } from "../../src/tasks/task-service.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { pack, refusalOf, startTaskFixture, type TaskFixture } from "./task-fixture.ts";

let fixture: TaskFixture;
beforeAll(async () => {
  fixture = await startTaskFixture();
});
afterAll(() => fixture.stop());

const fatal = {
  error: {
    severity: "fatal",
    message: `the card fell out with Bearer ${"s".repeat(40)}`,
    context: undefined,
  },
} as const;
const none = { currentTask: undefined, heldLeases: [] };

async function agentWith(
  count: number,
  wish: Parameters<TaskFixture["add"]>[0] = {},
): Promise<{ agent: AgentCaller; ids: string[] }> {
  const name = `agent-${Math.random().toString(36).slice(2)}`;
  const agent = await fixture.enroll(name);
  for (let n = 0; n < count; n++) await fixture.add({ ...wish, kind: name });
  const tasks = await fixture.claim(agent, 100, [name]);
  if (tasks.length !== count) throw new Error(`${tasks.length} of ${count} tasks were claimed`);
  return { agent, ids: tasks.map(({ id }) => id) };
}

const idOf = (uuid: string | undefined) => `task_${uuid}`;

async function states(ids: string[]): Promise<string[]> {
  const rows = await fixture.database.sql<{ state: string }>`
    SELECT state FROM tasks WHERE id = ANY (${`{${ids.join(",")}}`}::uuid[]) ORDER BY id`;
  return rows.map(({ state }) => state);
}

describe("a heartbeat", () => {
  test("accepts the task at hand and renews what the agent holds; the rest is lost", async () => {
    const { agent, ids } = await agentWith(2);
    const [current, held] = ids;
    await fixture.database
      .sql`UPDATE tasks SET lease_expires_at = clock_timestamp() WHERE agent_id = ${agent.agentId}`;
    const { leases } = await fixture.beat(agent, {
      status: "busy",
      tasks: {
        currentTask: { taskId: idOf(current), leaseEpoch: 1n, progress: 0.5, detail: "halfway" },
        heldLeases: [
          { taskId: idOf(held), leaseEpoch: 1n },
          { taskId: idOf(held), leaseEpoch: 2n },
          { taskId: "nonsense", leaseEpoch: 1n },
        ],
      },
    });
    expect(leases).toEqual([
      { taskId: idOf(current), leaseEpoch: 1n, remainingMs: 60_000 },
      { taskId: idOf(held), leaseEpoch: 1n, remainingMs: 60_000 },
      { taskId: idOf(held), leaseEpoch: 2n, remainingMs: undefined },
      { taskId: "nonsense", leaseEpoch: 1n, remainingMs: undefined },
    ]);
    const running = (await fixture.show(current ?? "")).task;
    expect(running).toMatchObject({ state: "running", progress: 0.5, detail: "halfway" });
    expect(running.remainingMs).toBeGreaterThan(50_000);
    expect((await fixture.show(held ?? "")).task.state).toBe("leased");
    const link = { agentId: agent.agentId, taskId: current ?? "", leaseEpoch: 1n };
    const shown = await currentTasks(fixture.database.db, fixture.projectId, [link]);
    expect(shown.get(agent.agentId)).toEqual({
      taskId: current,
      leaseEpoch: 1n,
      progress: 0.5,
      detail: "halfway",
    });
  });

  test("keeps progress and detail that it leaves out", async () => {
    const { agent, ids } = await agentWith(1);
    const currentTask = { taskId: idOf(ids[0]), leaseEpoch: 1n };
    await fixture.beat(agent, {
      tasks: { currentTask: { ...currentTask, progress: 0.7, detail: "x" }, heldLeases: [] },
    });
    await fixture.beat(agent, { tasks: { currentTask, heldLeases: [] } });
    expect((await fixture.show(ids[0] ?? "")).task).toMatchObject({ progress: 0.7, detail: "x" });
  });

  test("that names another agent's task loses the link, keeps the error and changes nothing", async () => {
    const { ids } = await agentWith(1);
    const thief = await fixture.enroll(`thief-${Math.random()}`);
    const taskId = idOf(ids[0]);
    const answer = await fixture.beat(thief, {
      tasks: { currentTask: { taskId, leaseEpoch: 1n, progress: 1 }, heldLeases: [] },
      error: { severity: "warning", message: "hm", context: undefined },
    });
    expect(answer.leases).toEqual([{ taskId, leaseEpoch: 1n, remainingMs: undefined }]);
    expect(fixture.droppedLinks).toContain(taskId);
    const errors = await fixture.database.sql<{ task_id: string | null }>`
      SELECT task_id FROM error_reports WHERE agent_id = ${thief.agentId}`;
    expect(errors).toEqual([{ task_id: null }]);
    expect((await fixture.show(ids[0] ?? "")).task).toMatchObject({ state: "leased", progress: 0 });
  });

  test("that comes late or twice reads its leases and renews none", async () => {
    const { agent, ids } = await agentWith(1);
    const tasks = { currentTask: { taskId: idOf(ids[0]), leaseEpoch: 1n, progress: 0.1 }, heldLeases: [] };
    await fixture.beat(agent, { tasks, session: { bootId: "b", sequence: 5n } });
    await fixture.database
      .sql`UPDATE tasks SET lease_expires_at = clock_timestamp() + interval '9 seconds' WHERE id = ${ids[0]}`;
    const late = { currentTask: { ...tasks.currentTask, progress: 0.9 }, heldLeases: [] };
    const answer = await fixture.beat(agent, { tasks: late, session: { bootId: "b", sequence: 4n } });
    expect(answer.duplicate).toBe(true);
    expect(answer.leases[0]?.remainingMs).toBeLessThanOrEqual(9_000);
    expect(answer.leases[0]?.remainingMs).toBeGreaterThan(0);
    expect((await fixture.show(ids[0] ?? "")).task.progress).toBe(0.1);
  });
});

describe("a fatal heartbeat", () => {
  test("fails every active task of its agent, one hundred as well, in order of their chances", async () => {
    const { agent, ids } = await agentWith(100);
    const [last, ...others] = ids;
    await fixture.database.sql`UPDATE tasks SET retries = max_retries WHERE id = ${last}`;
    const bystander = await agentWith(1);
    const answer = await fixture.beat(agent, {
      ...fatal,
      tasks: { currentTask: { taskId: idOf(others[0]), leaseEpoch: 1n }, heldLeases: [] },
    });
    expect(answer.taskFailures).toEqual({ attempted: 100, requeued: 99, failed: 1 });
    expect(answer.leases).toEqual([{ taskId: idOf(others[0]), leaseEpoch: 1n, remainingMs: undefined }]);
    expect(new Set(await states(others))).toEqual(new Set(["pending"]));
    expect(await states([last ?? ""])).toEqual(["failed"]);
    expect(await states(bystander.ids)).toEqual(["leased"]);
    expect(await fixture.audit(last ?? "")).toEqual(["task.created", "task.failed"]);
    expect(await fixture.audit(others[0] ?? "")).toEqual(["task.created", "task.requeued"]);
    expect((await fixture.show(others[0] ?? "")).task).toMatchObject({
      retries: 1,
      losses: 0,
      error: { message: "the agent reported a fatal error: the card fell out with Bearer [REDACTED]" },
    });
    const errors = await fixture.database.sql<{ task_id: string }>`
      SELECT task_id FROM error_reports WHERE agent_id = ${agent.agentId}`;
    expect(errors).toEqual([{ task_id: others[0] }]);
    const open = await fixture.database.sql`
      SELECT 1 FROM task_attempts WHERE agent_id = ${agent.agentId} AND ended_at IS NULL`;
    expect(open).toEqual([]);
  });

  test("sets aside what cannot be handled, with the reason, and the rest go through", async () => {
    const { agent, ids } = await agentWith(20);
    const bad = [ids[3], ids[11]];
    await fixture.database.sql`CREATE TABLE bad_tasks (id uuid PRIMARY KEY)`;
    for (const id of bad) await fixture.database.sql`INSERT INTO bad_tasks VALUES (${id}::uuid)`;
    await fixture.database.sql`
      CREATE FUNCTION refuse_bad() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        IF NEW.state = 'pending' AND EXISTS (SELECT 1 FROM bad_tasks b WHERE b.id = NEW.id) THEN
          RAISE EXCEPTION 'a secret of the database';
        END IF;
        RETURN NEW;
      END $$`;
    await fixture.database.sql`
      CREATE TRIGGER refuse_bad BEFORE UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION refuse_bad()`;
    try {
      const { taskFailures, status } = await fixture.beat(agent, fatal);
      expect(status).toBe("error");
      expect(taskFailures).toEqual({ attempted: 20, requeued: 18, failed: 0 });
    } finally {
      await fixture.database.sql`DROP FUNCTION refuse_bad CASCADE`;
    }
    for (const id of bad) {
      const { task } = await fixture.show(id ?? "");
      expect(task.state).toBe("quarantined");
      expect(task.error?.message).toMatch(/could not be handled.*P0001/);
      expect(task.error?.message).not.toMatch(/secret/);
      expect(await fixture.audit(id ?? "")).toEqual(["task.created", "task.quarantined"]);
    }
    expect(fixture.unhandled.map(({ taskId }) => taskId).sort()).toEqual(bad.toSorted());
    const rest = ids.filter((id) => !bad.includes(id));
    expect(new Set(await states(rest))).toEqual(new Set(["pending"]));
  });

  test("whose connection is cut in the middle did nothing at all", async () => {
    const { agent, ids } = await agentWith(10);
    await fixture.beat(agent, { status: "busy" });
    await fixture.database.sql`
      CREATE FUNCTION stop_here() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM pg_advisory_xact_lock_shared(77); RETURN NEW; END $$`;
    // After the tasks were written, before the agent's own entry and the commit.
    await fixture.database.sql`
      CREATE TRIGGER stop_here BEFORE INSERT ON audit_entries FOR EACH ROW EXECUTE FUNCTION stop_here()`;
    const holder = await fixture.database.reserve();
    await holder.db.execute("SELECT pg_advisory_lock(77)");
    const outcome = refusalOf(fixture.beat(agent, fatal));
    const pid = await waitFor(async () => {
      const [waiter] = await fixture.database.sql<{ pid: number }>`
        SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 77 AND NOT granted
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`;
      return waiter?.pid;
    });
    await fixture.database.sql`SELECT pg_terminate_backend(${pid}::int)`;
    expect((await outcome).kind).toBe("unavailable");
    await holder.release();
    await fixture.database.sql`DROP FUNCTION stop_here CASCADE`;
    expect(new Set(await states(ids))).toEqual(new Set(["leased"]));
    const errors = await fixture.database.sql`SELECT 1 FROM error_reports WHERE agent_id = ${agent.agentId}`;
    expect(errors).toEqual([]);
    expect((await fixture.loans.complete(agent, ids[0] ?? "", 1n, pack(1))).state).toBe("succeeded");
    expect((await fixture.beat(agent, fatal)).taskFailures).toEqual({ attempted: 9, requeued: 9, failed: 0 });
  });
});

describe("commands", () => {
  test("a cancelled task's agent is told in every answer until it has said that it knows", async () => {
    const { agent, ids } = await agentWith(2);
    const [taskId = ""] = ids;
    const wish = { reason: "not needed any more", requestId: "" };
    await inTransaction(fixture.database.db, (tx) =>
      cancelTask(tx, fixture.operator, taskId, wish, fixture.rules),
    );
    const { task } = await fixture.show(taskId);
    expect(task).toMatchObject({ state: "cancelled", error: { message: "not needed any more" } });
    const command = { sequence: 1n, kind: "cancelTask", taskId, reason: "not needed any more" };
    expect((await fixture.beat(agent)).commands).toEqual([command]);
    expect((await fixture.beat(agent, { acknowledgedCommands: [7n] })).commands).toEqual([command]);
    expect((await fixture.beat(agent, { acknowledgedCommands: [1n] })).commands).toEqual([]);
    expect((await fixture.beat(agent)).commands).toEqual([]);
    const late = refusalOf(fixture.loans.complete(agent, taskId, 1n, pack("done anyway")));
    expect(await late).toEqual({ kind: "failed-precondition", reason: "LEASE_LOST" });
    expect((await fixture.show(taskId)).staleResults).toHaveLength(1);
    const again = await inTransaction(fixture.database.db, (tx) =>
      cancelTask(tx, fixture.operator, taskId, wish, fixture.rules),
    );
    expect(again).toEqual([]);
    await fixture.loans.complete(agent, ids[1] ?? "", 1n, undefined);
    const ended = inTransaction(fixture.database.db, (tx) =>
      cancelTask(tx, fixture.operator, ids[1] ?? "", wish, fixture.rules),
    );
    expect(await refusalOf(ended)).toEqual({ kind: "failed-precondition", reason: "TASK_ENDED" });
  });
});

test("whether urgent tasks wait that the agent could take is known to a second", async () => {
  const gpu = await fixture.enroll("urgent-gpu", { capabilities: ["cuda"], labels: { zone: "a" } });
  const cpu = await fixture.enroll("urgent-cpu");
  expect(await fixture.held.hasHighPriority(gpu)).toBe(false);
  const requirements = { capabilities: ["cuda"], labels: { zone: "a" } };
  const id = await fixture.add({ priority: 8, kind: "urgent", requirements });
  await waitFor(() => fixture.held.hasHighPriority(gpu), { timeoutMs: 2_000 });
  expect(await fixture.held.hasHighPriority(cpu)).toBe(false);
  const wish = { reason: "", requestId: "" };
  await inTransaction(fixture.database.db, (tx) => cancelTask(tx, fixture.operator, id, wish, fixture.rules));
  await waitFor(async () => !(await fixture.held.hasHighPriority(gpu)), { timeoutMs: 2_000 });
  expect((await fixture.beat(await fixture.enroll("idle"), { tasks: none })).leases).toEqual([]);
});
