import { durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import {
  type AgentService,
  ClaimTasksRequestSchema,
  CompleteTaskRequestSchema,
  FailTaskRequestSchema,
  UpdateTaskRequestSchema,
} from "../../gen/drover/v1/agent_service_pb.js";
import { scrubContext, scrubText } from "../error-reports/scrub-secrets.ts";
import { createOnce } from "../idempotency/answer-once.ts";
import { callerWithRole } from "../identity/caller.ts";
import { packJson } from "../runtime/json-value.ts";
import { invalidField } from "../runtime/refusal.ts";
import type { JsonObject } from "../storage/schema.ts";
import type { ClaimService } from "./claim-service.ts";
import type { LoanService } from "./loan-service.ts";
import { taskToMessage } from "./task-message.ts";
import { taskUuid } from "./task-rpc.ts";
import type { TaskRecord } from "./task-store.ts";

type LoanRpc = Pick<
  ServiceImpl<typeof AgentService>,
  "claimTasks" | "updateTask" | "completeTask" | "failTask"
>;

/**
 * Makes an agent's call for at most `max` tasks, by way of whatever else brings it tasks: so that all of it is one count of
 * what the agent has room for. `claim` gets how many the call may bring, which may be none.
 */
export type CountClaim = (
  agentId: string,
  max: number,
  claim: (max: number) => Promise<TaskRecord[]>,
) => Promise<TaskRecord[]>;

/** What agents do with tasks. */
export function createLoanRpc(claims: ClaimService, loans: LoanService, count: CountClaim): LoanRpc {
  return {
    async claimTasks(request, context) {
      const caller = callerWithRole(context, "agent");
      const { kinds, max, wait } = request;
      const once = createOnce({ caller, method: "ClaimTasks", input: ClaimTasksRequestSchema, request });
      const waitMs = wait === undefined ? 0 : durationMs(wait);
      const tasks = await count(caller.agentId, max === 0 ? 1 : max, async (most) => {
        context.signal.throwIfAborted();
        // For nothing nobody waits; but what an earlier call of this request_id brought is still told.
        const wish = { kinds, max: most, waitMs: most === 0 ? 0 : waitMs, once };
        return await claims.claim(caller, wish, context.signal);
      });
      return { tasks: tasks.map(taskToMessage) };
    },

    async updateTask(request, context) {
      const caller = callerWithRole(context, "agent");
      const { progress, detail, checkpoint } = request;
      const said = { progress, detail, checkpoint: packJson(checkpoint) };
      const once = createOnce({ caller, method: "UpdateTask", input: UpdateTaskRequestSchema, request });
      const lease = await loans.update(caller, taskUuid(request.task), request.leaseEpoch, said, once);
      return { lease: { epoch: lease.leaseEpoch, remaining: durationFromMs(lease.remainingMs) } };
    },

    async completeTask(request, context) {
      const caller = callerWithRole(context, "agent");
      const task = await loans.complete(
        caller,
        taskUuid(request.task),
        request.leaseEpoch,
        packJson(request.result),
        createOnce({ caller, method: "CompleteTask", input: CompleteTaskRequestSchema, request }),
      );
      return { task: taskToMessage(task) };
    },

    async failTask(request, context) {
      const caller = callerWithRole(context, "agent");
      const { error, retryable = true, requestId } = request;
      if (error === undefined) throw invalidField("error", "is needed");
      // A google.protobuf.Struct reaches handlers as the JSON object that it is.
      const sent = error.context as JsonObject | undefined;
      const scrubbed = { message: scrubText(error.message), context: sent && scrubContext(sent) };
      const failure = { error: scrubbed, retryable, requestId };
      const once = createOnce({ caller, method: "FailTask", input: FailTaskRequestSchema, request });
      const task = await loans.fail(caller, taskUuid(request.task), request.leaseEpoch, failure, once);
      return { task: taskToMessage(task) };
    },
  };
}
