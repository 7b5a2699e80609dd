import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { requireAgent } from "../../src/agents/agent-service.ts";
import { orderCordon } from "../../src/agents/cordon-service.ts";
import type { AgentCaller } from "../../src/identity/caller.ts";
import { inTransaction } from "../../src/storage/database.ts";
import { decideEnding, MOST_FAILED_IN_A_ROW, MOST_TAKEN_DOWN } from "../../src/tasks/decide-task.ts";
import { tellBars } from "../../src/tasks/explanation.ts";
import { giveBackTasks, timeOutAttempts } from "../../src/tasks/give-back.ts";
import { retryTask } from "../../src/tasks/task-service.ts";
import { stopAtChange } from "../helpers/stop-point.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { noneSpared, pack, refusalOf, startTaskFixture, type TaskFixture } from "./task-fixture.ts";

let fixture: TaskFixture;
beforeAll(async () => {
  fixture = await startTaskFixture({ backoff: { firstMs: 1, longestMs: 1 } });
});
afterAll(() => fixture.stop());

const backoff = { firstMs: 1, longestMs: 1 };

describe("the rule", () => {
  const lent = { maxRetries: 9, retries: 0, losses: 0, leaseEpoch: 1n, agentId: "a" };

  test.each(["agent-failed", "lost"] as const)("%s by the third agent sets the task aside", (kind) => {
    const first = decideEnding({ ...lent, state: "running" }, { kind }, backoff);
    expect(first).toMatchObject({ after: { state: "pending" }, tookDown: true });
    const third = decideEnding(
      { ...lent, state: "running", tookDown: MOST_TAKEN_DOWN - 1 },
      { kind },
      backoff,
    );
    expect(third).toMatchObject({ after: { state: "quarantined" }, tookDown: true });
  });

  test.each([
    ["leased", "lost"],
    ["leased", "agent-failed"],
    ["running", "lease-ended"],
    ["running", "timed-out"],
    ["running", "returned"],
  ] as const)("a %s task has no part in it that its agent %s", (state, kind) => {
    const end = decideEnding({ ...lent, state, tookDown: 9 }, { kind }, backoff);
    expect(end.after.state).toBe("pending");
    expect(end.tookDown).toBeUndefined();
  });
});

describe("a task that takes down agents", () => {
  /** Lends the task to the agent, which begins and goes down. */
  async function takeDown(agent: AgentCaller, id: string, how: "fatal" | "lost") {
    const [task] = await fixture.claim(agent, 1, ["poison"]);
    if (task?.id !== id) throw new Error("another task was claimed");
    await fixture.loans.update(agent, id, task.leaseEpoch, {});
    if (how === "fatal") {
      await fixture.beat(agent, { error: { severity: "fatal", message: "segfault", context: undefined } });
      await fixture.beat(agent);
    } else {
      const lost = { kind: "lost", message: "its agent was lost", origin: { actor: "server" } } as const;
      await inTransaction(fixture.database.db, (tx) =>
        giveBackTasks(tx, [agent], { ...lost, endedLeasesOnly: false }, { backoff, report: () => {} }),
      );
    }
    await fixture.database.sql`UPDATE tasks SET due_at = created_at WHERE id = ${id} AND state = 'pending'`;
  }

  test("is quarantined with the reason after three of them, and comes back by a retry", async () => {
    const id = await fixture.add({ kind: "poison", maxRetries: 9 });
    const [a, b, c] = await Promise.all(["a", "b", "c"].map((name) => fixture.enroll(name)));
    if (a === undefined || b === undefined || c === undefined) throw new Error("three agents");
    await takeDown(a, id, "fatal");
    // The same agent again is no further agent.
    await takeDown(a, id, "lost");
    await takeDown(b, id, "lost");
    expect((await fixture.show(id)).task.state).toBe("pending");
    await takeDown(c, id, "fatal");
    const { task } = await fixture.show(id);
    expect(task.state).toBe("quarantined");
    expect(task.error?.message).toContain("3 different agents went down while they ran it");
    expect((await fixture.audit(id)).at(-1)).toBe("task.quarantined");
    const events = await fixture.database.sql<{ type: string }>`
      SELECT type FROM events WHERE task_id = ${id} ORDER BY id DESC LIMIT 1`;
    expect(events).toEqual([{ type: "task.quarantined" }]);
    expect(await fixture.claim(a, 1, ["poison"])).toEqual([]);

    const wish = { reason: "", requestId: "" };
    await inTransaction(fixture.database.db, (tx) =>
      retryTask(tx, fixture.operator, id, wish, fixture.rules),
    );
    // What it did before is forgiven.
    await takeDown(a, id, "fatal");
    await takeDown(b, id, "fatal");
    expect((await fixture.show(id)).task.state).toBe("pending");
  });
});

describe("an agent that fails different tasks in a row", () => {
  const error = { message: "no GPU", context: undefined };

  /** Lends the agent a task of its own. */
  async function lend(agent: AgentCaller, more: { timeoutMs?: number } = {}) {
    const id = await fixture.add({ ...more, kind: agent.agentName, maxRetries: 0 });
    const [task] = await fixture.claim(agent, 1, [agent.agentName]);
    if (task?.id !== id) throw new Error("the agent got no task");
    return id;
  }
  async function fail(agent: AgentCaller, times: number) {
    for (let time = 0; time < times; time++)
      await fixture.loans.fail(agent, await lend(agent), 1n, { error, retryable: true });
  }
  const show = ({ projectId, agentName }: AgentCaller) =>
    requireAgent(fixture.database.db, projectId, agentName);
  const uncordon = (agent: AgentCaller) =>
    inTransaction(fixture.database.db, (tx) =>
      orderCordon(tx, [agent], { kind: "uncordon" }, { actor: "token:test", reason: "repaired" }),
    );

  test("is cordoned with the reason, and begins anew when it is uncordoned", async () => {
    const agent = await fixture.enroll("broken");
    await fail(agent, MOST_FAILED_IN_A_ROW - 1);
    expect((await show(agent)).cordon).toBe("none");
    const last = await lend(agent);
    await fixture.loans.fail(agent, last, 1n, { error, retryable: true });
    const shown = await show(agent);
    const reason = `it failed 5 different tasks in a row; the last one was task_${last}: no GPU`;
    expect(shown).toMatchObject({ cordon: "cordoned", cordonReason: reason });
    expect(tellBars(shown)[0]).toMatchObject({
      code: "AGENT_CORDONED",
      words: expect.stringContaining(reason),
    });
    await fixture.add({ kind: "broken" });
    expect(await fixture.claim(agent, 1, ["broken"])).toEqual([]);
    expect(
      await fixture.database.sql`
        SELECT actor, action, from_value, to_value, reason FROM audit_entries
        WHERE subject = ${`agent_${agent.agentId}`} AND field = 'cordon'`,
    ).toEqual([
      { actor: "server", action: "agent.cordoned", from_value: "none", to_value: "cordoned", reason },
    ]);
    expect(
      await fixture.database.sql`
        SELECT type, data ->> 'reason' AS reason FROM events WHERE agent_id = ${agent.agentId} AND type = 'agent.cordoned'`,
    ).toEqual([{ type: "agent.cordoned", reason }]);

    await uncordon(agent);
    expect(await fixture.claim(agent, 1, ["broken"])).toHaveLength(1);
    await fail(agent, MOST_FAILED_IN_A_ROW - 1);
    expect((await show(agent)).cordon).toBe("none");
  });

  test("is not to blame where it succeeded between them, or failed one task again and again", async () => {
    const agent = await fixture.enroll("fair");
    await fail(agent, MOST_FAILED_IN_A_ROW - 1);
    await fixture.loans.complete(agent, await lend(agent), 1n, pack("done"));
    await fail(agent, MOST_FAILED_IN_A_ROW - 1);
    const id = await fixture.add({ kind: "again", maxRetries: 9 });
    await fixture.loans.complete(agent, await lend(agent), 1n, pack("done"));
    for (let time = 0; time < MOST_FAILED_IN_A_ROW; time++) {
      await fixture.database.sql`UPDATE tasks SET due_at = created_at WHERE id = ${id}`;
      const [task] = await fixture.claim(agent, 1, ["again"]);
      await fixture.loans.fail(agent, id, task?.leaseEpoch ?? 0n, { error, retryable: true });
    }
    expect((await show(agent)).cordon).toBe("none");
  });

  test("is blamed for attempts that run too long, by several at once too, while others look", async () => {
    const agent = await fixture.enroll("slow");
    await fail(agent, MOST_FAILED_IN_A_ROW - 2);
    const late = [await lend(agent, { timeoutMs: 5 }), await lend(agent, { timeoutMs: 5 })];
    await fixture.database.sql`
      UPDATE tasks SET leased_at = leased_at - interval '10 s' WHERE id = ANY (${late}::uuid[])`;
    const timeOut = () =>
      inTransaction(fixture.database.db, (tx) =>
        timeOutAttempts(tx, 100, noneSpared, { backoff, report: () => {} }),
      );
    // Who is busy with the agent is not waited for.
    await inTransaction(fixture.database.db, async (tx) => {
      await orderCordon(tx, [agent], { kind: "uncordon" }, { actor: "server", reason: "" });
      expect(await timeOut()).toEqual({ changes: [], cordoned: [] });
    });
    const { changes, cordoned } = await timeOut();
    expect(changes.map(({ taskId }) => taskId).sort()).toEqual(late.sort());
    expect(cordoned).toMatchObject([{ agent: "slow", from: "none", to: "cordoned" }]);
    expect((await show(agent)).cordonReason).toContain("ran longer than its task allows");
  });

  test("is cordoned once by last failures that come at the same moment", async () => {
    const agent = await fixture.enroll("thrice");
    await fail(agent, MOST_FAILED_IN_A_ROW - 2);
    const ids = [await lend(agent), await lend(agent), await lend(agent)];
    // The first stands still in its commit, after it has counted one failure more than there were, which is one too few.
    // Unless the others wait for it, they come as far beside it, and each of the three counts as it did.
    const stop = await stopAtChange(fixture.url, "agent_failures", "in commit after insert");
    const failures = ids.map((id) => fixture.loans.fail(agent, id, 1n, { error, retryable: true }));
    await stop.reached();
    await waitFor(async () => {
      const [row] = await fixture.database.sql<{ count: number }>`
        SELECT count(*)::int AS count FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'`;
      return row?.count === ids.length;
    });
    await stop.release();
    await Promise.all(failures);
    expect(await show(agent)).toMatchObject({
      cordon: "cordoned",
      cordonReason: expect.stringContaining("it failed 5 different tasks in a row"),
    });
    const told = await fixture.database.sql<{ place: string }>`
      SELECT 'audit' AS place FROM audit_entries WHERE subject = ${`agent_${agent.agentId}`} AND field = 'cordon'
      UNION ALL SELECT 'event' FROM events WHERE agent_id = ${agent.agentId} AND type = 'agent.cordoned'`;
    expect(told.map(({ place }) => place)).toEqual(["audit", "event"]);
    expect(fixture.cordoned.filter(({ agentId }) => agentId === agent.agentId)).toHaveLength(1);
    // A result under another lease is refused, and no failure of the agent's.
    const late = fixture.loans.fail(agent, ids[0] ?? "", 9n, { error, retryable: true });
    expect(await refusalOf(late)).toMatchObject({ reason: "LEASE_LOST" });
  });
});
