import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { TaskSchema, TaskState as TaskStateNumber } from "../../gen/drover/v1/task_pb.js";
import {
  BatchCancelTasksRequestSchema,
  BatchCancelTasksResponseSchema,
  BatchRetryTasksRequestSchema,
  BatchRetryTasksResponseSchema,
  type TaskService,
} from "../../gen/drover/v1/task_service_pb.js";
import { answerMany } from "../idempotency/answer-many.ts";
import { type Caller, callerOf } from "../identity/caller.ts";
import type { Db, Tx } from "../storage/database.ts";
import { cancelTasks, retryTasks } from "./batch-service.ts";
import type { TaskState } from "./task.ts";
import type { TaskChange } from "./task-change.ts";
import { taskToMessage } from "./task-message.ts";
import { filterOf } from "./task-rpc.ts";
import { MOST_TASK_BYTES, type TaskRules } from "./task-rules.ts";
import { findTasks, listTasks } from "./task-store.ts";
import type { WaitingClaims } from "./waiting-claims.ts";

const MOST_TASKS = 1_000;

/** BatchCancelTasks and BatchRetryTasks of TaskService. */
export function createBatchRpc(
  db: Db,
  rules: TaskRules,
  waiting: WaitingClaims,
): Pick<ServiceImpl<typeof TaskService>, "batchCancelTasks" | "batchRetryTasks"> {
  return {
    batchCancelTasks: (request, context) =>
      run(db, waiting, context, request, {
        method: "BatchCancelTasks",
        input: BatchCancelTasksRequestSchema,
        output: BatchCancelTasksResponseSchema,
        states: ["pending", "leased", "running", "quarantined"],
        change: (tx, caller, ids) => cancelTasks(tx, caller, ids, request, rules),
      }),
    batchRetryTasks: (request, context) =>
      run(db, waiting, context, request, {
        method: "BatchRetryTasks",
        input: BatchRetryTasksRequestSchema,
        output: BatchRetryTasksResponseSchema,
        states: ["failed", "quarantined"],
        change: (tx, caller, ids) => retryTasks(tx, caller, ids, request, rules),
      }),
  };
}

interface BatchRequest {
  state: TaskStateNumber[];
  kind: string[];
  agent: string;
  labels: string[];
  all: boolean;
  limit: number;
  reason: string;
  requestId: string;
}

interface Batch<In extends DescMessage, Out extends DescMessage> {
  method: string;
  input: In;
  output: Out;
  /** Which are meant where the request names none: those of which it makes sense. */
  states: TaskState[];
  change(tx: Tx, caller: Caller, ids: string[]): Promise<TaskChange[]>;
}

async function run<In extends DescMessage, Out extends DescMessage>(
  db: Db,
  waiting: WaitingClaims,
  context: Pick<HandlerContext, "values">,
  request: MessageShape<In> & BatchRequest,
  { method, input, output, states, change }: Batch<In, Out>,
): Promise<{ tasks: MessageInitShape<typeof TaskSchema>[]; more: boolean }> {
  const caller = callerOf(context);
  const { state, kind, agent, labels } = request;
  const { answer, changes } = await answerMany(db, {
    caller,
    method,
    input,
    request,
    output,
    filter: [state, kind, agent, labels],
    run: async (tx) => {
      const { ids, more } = await choose(tx, caller.projectId, request, states);
      const changes = ids.length === 0 ? [] : await change(tx, caller, ids);
      const changed = new Set(changes.map(({ taskId }) => taskId));
      const tasks = await findTasks(
        tx,
        caller.projectId,
        ids.filter((id) => changed.has(id)),
      );
      // One whose holder changed just now is still to be done.
      const rest = more || changed.size < ids.length;
      return { answer: { tasks: tasks.map(taskToMessage), more: rest }, changes };
    },
  });
  waiting.announce(changes);
  return answer;
}

/** The oldest tasks that the filter finds and that fit into one answer, and whether there are more. */
async function choose(
  tx: Tx,
  projectId: string,
  request: BatchRequest,
  states: TaskState[],
): Promise<{ ids: string[]; more: boolean }> {
  const filter = await filterOf(tx, projectId, request);
  if (filter === undefined) return { ids: [], more: false };
  const meant = filter.states.length === 0 ? { ...filter, states } : filter;
  // The answer holds the reason with each task; half of it is left to what is in the tasks already.
  const reasonBytes = Buffer.byteLength(request.reason) + 1;
  const fitting = Math.floor(MOST_TASK_BYTES / 2 / reasonBytes);
  const size = Math.min(request.limit === 0 ? MOST_TASKS : request.limit, fitting);
  const page = { size, after: undefined, scope: "" };
  const found = await listTasks(tx, meant, true, page, MOST_TASK_BYTES - size * reasonBytes);
  const ids = found.tasks.slice(0, Math.min(size, found.fitting)).map(({ id }) => id);
  return { ids, more: found.tasks.length > ids.length };
}
