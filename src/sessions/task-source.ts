import type { Task } from "../../gen/drover/v1/task_pb.js";
import type { AgentCaller } from "../identity/caller.ts";
import { parseId } from "../runtime/resource-id.ts";
import type { LoanService } from "../tasks/loan-service.ts";
import { taskToMessage } from "../tasks/task-message.ts";

/** Tasks that somebody waits for: of one kind, or of any where that is undefined. */
export interface AwaitedTasks {
  projectId: string;
  kind: string | undefined;
}

/** Where assignments come from. */
export interface TaskSource {
  /** Lends tasks to the agent as ClaimTasks does, without waiting; refuses with AGENT_IN_ERROR. `kinds` empty: any. */
  claim(caller: AgentCaller, wish: { kinds: string[]; max: number }): Promise<Task[]>;
  /** Those of the awaited of which at least one is due now. */
  findDue(awaited: AwaitedTasks[]): Promise<AwaitedTasks[]>;
  /** Takes back tasks that were lent and could not be handed over. */
  takeBack(caller: AgentCaller, tasks: Task[]): Promise<void>;
}

/** Assignments are claims that the server makes for the agent. */
export function createTaskSource(loans: LoanService, findDue: TaskSource["findDue"]): TaskSource {
  const neverAborted = new AbortController().signal;
  return {
    async claim(caller, { kinds, max }) {
      const tasks = await loans.claim(caller, { kinds, max, waitMs: 0 }, neverAborted);
      return tasks.map(taskToMessage);
    },
    findDue,
    async takeBack(caller, tasks) {
      const lent = tasks.flatMap(({ id, lease }) => {
        const taskId = parseId("task", id);
        return taskId === undefined || lease === undefined ? [] : [{ taskId, leaseEpoch: lease.epoch }];
      });
      await loans.takeBack(caller, lent);
    },
  };
}
