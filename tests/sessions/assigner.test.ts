import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { type Task, TaskSchema } from "../../gen/drover/v1/task_pb.js";
import type { AgentCaller } from "../../src/identity/caller.ts";
import { Assigner } from "../../src/sessions/assigner.ts";
import { type AssignmentSink, TaskRoom } from "../../src/sessions/task-room.ts";
import type { Claimed, TaskSource } from "../../src/sessions/task-source.ts";
import { waitFor } from "../helpers/wait-for.ts";

/** Tasks in memory; a claim sees what was there when it began, as a statement does. */
class Queue implements TaskSource {
  readonly #waiting: Task[] = [];
  claims = 0;
  /** Resolved to let claims that have begun go on. */
  gate: Promise<void> = Promise.resolve();

  add(id: string): void {
    this.#waiting.push(create(TaskSchema, { id, kind: "work" }));
  }

  async claim(_caller: AgentCaller, { max }: { max: number }): Promise<Claimed> {
    this.claims += 1;
    const tasks = this.#waiting.splice(0, max);
    await this.gate;
    return { tasks, offer: { capabilities: [], labels: {} } };
  }

  async readOffers(): Promise<ReadonlyMap<string, never>> {
    return new Map<string, never>();
  }

  async findDue(): Promise<never[]> {
    return [];
  }

  async takeBack(): Promise<void> {}
}

const projectId = "00000000-0000-7000-8000-000000000000";

function callerNamed(agentName: string): AgentCaller {
  const names = { project: "default", tokenId: agentName, actor: `agent:${agentName}` };
  return { role: "agent", projectId, agentId: agentName, agentName, authenticatedAtMs: 0, ...names };
}

function stage() {
  const queue = new Queue();
  const errors: unknown[] = [];
  const assigner = new Assigner(queue, (error) => errors.push(error));
  const agent = (name: string) => {
    const got: string[] = [];
    const sink: AssignmentSink = {
      room: 8,
      put: async ({ id }) => {
        got.push(id);
        return true;
      },
      returnUndelivered: () => {},
    };
    const room = new TaskRoom(callerNamed(name), assigner, sink);
    return { room, got };
  };
  return { queue, assigner, agent, errors };
}

describe("assignments", () => {
  test("a task that appears while a claim is under way is found after it", async () => {
    const { queue, assigner, agent } = stage();
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
    const { queue, assigner, agent, errors } = stage();
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
    const { queue, assigner, agent } = stage();
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
    const { queue, assigner, agent } = stage();
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
