import type { Task } from "../../gen/drover/v1/task_pb.js";
import type { AgentCaller } from "../identity/caller.ts";
import { parseId } from "../runtime/resource-id.ts";
import type { ClaimService } from "../tasks/claim-service.ts";
import type { LoanService } from "../tasks/loan-service.ts";
import type { Holder } from "../tasks/loan-store.ts";
import type { Offer } from "../tasks/match-task.ts";
import type { AwaitedTasks, DueTasks } from "../tasks/requirement-store.ts";
import { taskToMessage } from "../tasks/task-message.ts";

/** Where assignments come from. */
export interface TaskSource {
  /** Lends tasks to the agent, without waiting; refuses with AGENT_IN_ERROR or AGENT_CORDONED. `kinds` empty: any. */
  claim(caller: AgentCaller, wish: { kinds: string[]; max: number }): Promise<Claimed>;
  /** Those of the awaited of which at least one is due now, for each set of requirements that due ones have. */
  findDue(awaited: AwaitedTasks[]): Promise<DueTasks[]>;
  /** What agents have to offer, by their ids. */
  readOffers(agents: Holder[]): Promise<ReadonlyMap<string, Offer>>;
  /** Takes back tasks that were lent and could not be handed over. */
  takeBack(caller: AgentCaller, tasks: Task[]): Promise<void>;
}

/** Tasks that were lent to an agent, and what it had to offer for them. */
export interface Claimed {
  tasks: Task[];
  offer: Offer;
}

/** Assignments are claims that the server makes for the agent. */
export function createTaskSource(
  claims: ClaimService,
  loans: LoanService,
  sources: Pick<TaskSource, "findDue" | "readOffers">,
): TaskSource {
  return {
    async claim(caller, wish) {
      const { tasks, offer } = await claims.claimNow(caller, wish);
      return { tasks: tasks.map(taskToMessage), offer };
    },
    ...sources,
    async takeBack(caller, tasks) {
      const lent = tasks.flatMap(({ id, lease }) => {
        const taskId = parseId("task", id);
        return taskId === undefined || lease === undefined ? [] : [{ taskId, leaseEpoch: lease.epoch }];
      });
      await loans.takeBack(caller, lent);
    },
  };
}
