import type { ServiceImpl } from "@connectrpc/connect";
import {
  type AgentService,
  LeaveRequestSchema,
  LeaveResponseSchema,
} from "../../gen/drover/v1/agent_service_pb.js";
import { answerOnce } from "../idempotency/answer-once.ts";
import { type AgentCaller, callerWithRole } from "../identity/caller.ts";
import type { Db } from "../storage/database.ts";
import type { HeldTasks } from "../tasks/held-tasks.ts";
import { type Departure, leave } from "./leave-service.ts";

/** Leave of AgentService; `left` hears after the commit of an agent that was not offline before. */
export function createLeaveRpc(
  db: Db,
  tasks: Pick<HeldTasks, "giveBack" | "announce">,
  left: (agent: AgentCaller, change: NonNullable<Departure["change"]>) => void,
): Pick<ServiceImpl<typeof AgentService>, "leave"> {
  return {
    async leave(request, context) {
      const caller = callerWithRole(context, "agent");
      let departure: Departure = { change: undefined, taskChanges: [] };
      const answer = await answerOnce(db, {
        caller,
        method: "Leave",
        input: LeaveRequestSchema,
        request,
        output: LeaveResponseSchema,
        run: async (tx) => {
          departure = await leave(tx, caller, request.requestId, tasks);
          return {};
        },
      });
      tasks.announce(departure.taskChanges);
      if (departure.change !== undefined) left(caller, departure.change);
      return answer;
    },
  };
}
