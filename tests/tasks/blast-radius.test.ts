import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { AgentCaller } from "../../src/identity/caller.ts";
import { inTransaction } from "../../src/storage/database.ts";
import { decideEnding, MOST_TAKEN_DOWN } from "../../src/tasks/decide-task.ts";
import { giveBackTasks } from "../../src/tasks/give-back.ts";
import { retryTask } from "../../src/tasks/task-service.ts";
import { startTaskFixture, type TaskFixture } from "./task-fixture.ts";

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
