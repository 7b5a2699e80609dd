import { describe, expect, test } from "vitest";
import { waitFor } from "../helpers/wait-for.ts";
import { assignerStage } from "./assigner-stage.ts";

describe("assignments", () => {
  test("a task that appears while a claim is under way is found after it", async () => {
    const { queue, assigner, agent, projectId } = assignerStage();
    const { room, got } = agent("a");
    const { promise, resolve } = Promise.withResolvers<void>();
    queue.gate = promise;
    await room.set(1, []);
    room.open();
    await waitFor(() => queue.claims === 1);
    // Too late for the claim that has begun.
    queue.add("task");
    assigner.wake(projectId, "work");
    resolve();
    await waitFor(() => got.length === 1);
  });

  test("one task does not send every agent that waits to the database", async () => {
    const { queue, assigner, agent, errors, projectId } = assignerStage();
    const agents = Array.from({ length: 200 }, (_, index) => agent(`agent-${index}`));
    for (const { room } of agents) {
      await room.set(1, ["work"]);
      room.open();
    }
    await new Promise(setImmediate);
    const before = queue.claims;
    queue.add("task");
    assigner.wake(projectId, "work");
    await waitFor(() => agents.some(({ got }) => got.length > 0));
    await new Promise(setImmediate);
    expect(queue.claims - before).toBeLessThan(15);
    expect(errors).toEqual([]);
  });

  test("every agent gets its turn, and none more than it has room for", async () => {
    const { queue, assigner, agent, projectId } = assignerStage();
    const agents = Array.from({ length: 30 }, (_, index) => agent(`agent-${index}`));
    for (const { room } of agents) {
      await room.set(2, []);
      room.open();
    }
    for (let index = 0; index < 70; index++) {
      queue.add(`task-${index}`);
      assigner.wake(projectId, "work");
    }
    await waitFor(() => agents.every(({ got }) => got.length === 2));
    expect(new Set(agents.flatMap(({ got }) => got)).size).toBe(60);
  });

  test("what another kind waits for is left alone, and so is another project", async () => {
    const { queue, assigner, agent, projectId } = assignerStage();
    const { room } = agent("a");
    await room.set(1, ["other"]);
    room.open();
    await waitFor(() => queue.claims === 1);
    await new Promise(setImmediate);
    expect(assigner.wake(projectId, "work")).toBe(false);
    expect(assigner.wake("another project", "other")).toBe(false);
    await new Promise(setImmediate);
    expect(queue.claims).toBe(1);
    expect(assigner.wake(projectId, "other")).toBe(true);
    await waitFor(() => queue.claims === 2);
  });
});
