import { create } from "@bufbuild/protobuf";
import { type Task, TaskSchema } from "../../gen/drover/v1/task_pb.js";
import type { AgentCaller } from "../../src/identity/caller.ts";
import { Assigner } from "../../src/sessions/assigner.ts";
import { type AssignmentSink, TaskRoom } from "../../src/sessions/task-room.ts";
import type { Claimed, TaskSource } from "../../src/sessions/task-source.ts";

/** Tasks in memory; a claim sees what was there when it began, as a statement does. */
export class Queue implements TaskSource {
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

/** Agents with streams, and tasks in memory for them. */
export function assignerStage() {
  const queue = new Queue();
  const errors: unknown[] = [];
  const assigner = new Assigner(queue, (error) => errors.push(error));
  const agent = (name: string, isHeld?: () => boolean) => {
    const got: string[] = [];
    const unread = { count: 0, blocks: Promise.resolve() };
    const sink: AssignmentSink = {
      room: 8,
      get unread() {
        return unread.count;
      },
      put: async ({ id }) => {
        await unread.blocks;
        got.push(id);
        return true;
      },
      returnUndelivered: () => {},
    };
    const room = new TaskRoom(callerNamed(name), assigner, sink, isHeld);
    return { room, got, unread };
  };
  return { queue, assigner, agent, errors, projectId };
}
