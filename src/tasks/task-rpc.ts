import { create } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import { AttemptSchema } from "../../gen/drover/v1/task_pb.js";
import {
  type BatchCreateTasksRequest,
  BatchCreateTasksRequestSchema,
  BatchCreateTasksResponseSchema,
  CancelTaskRequestSchema,
  CancelTaskResponseSchema,
  type CreateTaskRequest,
  CreateTaskRequestSchema,
  CreateTaskResponseSchema,
  type ListTasksRequest,
  RetryTaskRequestSchema,
  RetryTaskResponseSchema,
  type TaskService,
} from "../../gen/drover/v1/task_service_pb.js";
import { findAgentId } from "../agents/agent-service.ts";
import { answerOnce } from "../idempotency/answer-once.ts";
import { callerOf } from "../identity/caller.ts";
import type { Quotas } from "../quotas/quotas.ts";
import { packJson } from "../runtime/json-value.ts";
import { labelFilterOf } from "../runtime/label-filter.ts";
import { messageSize } from "../runtime/message-size.ts";
import { invalidField } from "../runtime/refusal.ts";
import { parseId } from "../runtime/resource-id.ts";
import type { Db, Tx } from "../storage/database.ts";
import { cutPage, readPageRequest } from "../storage/page.ts";
import { listAttempts } from "./attempt-store.ts";
import { type ExplainSources, explainOneTask } from "./explain-service.ts";
import type { TaskChange } from "./task-change.ts";
import { attemptToMessage, shownTaskToMessage, stateFromMessage, taskToMessage } from "./task-message.ts";
import { noSuchTask } from "./task-refusals.ts";
import { MOST_TASK_BYTES, type TaskRules } from "./task-rules.ts";
import {
  cancelTask,
  createTask,
  createTasks,
  type NewTaskWish,
  retryTask,
  showTask,
} from "./task-service.ts";
import { findHolder, listTasks, type TaskFilter } from "./task-store.ts";
import type { WaitingClaims } from "./waiting-claims.ts";

const DEFAULT_PRIORITY = 5;
const DEFAULT_MAX_RETRIES = 3;

/** TaskService: work, for operators. */
export function createTaskRpc(
  db: Db,
  rules: TaskRules,
  waiting: WaitingClaims,
  sources: ExplainSources,
  quotas: Quotas,
): Omit<ServiceImpl<typeof TaskService>, "batchCancelTasks" | "batchRetryTasks"> {
  return {
    async createTask(request, context) {
      const caller = callerOf(context);
      const wish = wishOf(request);
      let changes: TaskChange[] = [];
      const answer = await answerOnce(db, {
        caller,
        method: "CreateTask",
        input: CreateTaskRequestSchema,
        request,
        output: CreateTaskResponseSchema,
        run: async (tx) => {
          await quotas.admitTasks(tx, caller.projectId, payloadSizes([wish]));
          const created = await createTask(tx, caller, wish, request.requestId);
          changes = created.changes;
          return { task: taskToMessage(created.task) };
        },
      });
      waiting.announce(changes);
      return answer;
    },

    async batchCreateTasks(request, context) {
      const caller = callerOf(context);
      refuseInnerIds(request);
      const wishes = request.requests.map(wishOf);
      let changes: TaskChange[] = [];
      const answer = await answerOnce(db, {
        caller,
        method: "BatchCreateTasks",
        input: BatchCreateTasksRequestSchema,
        request,
        output: BatchCreateTasksResponseSchema,
        run: async (tx) => {
          await quotas.admitTasks(tx, caller.projectId, payloadSizes(wishes));
          const created = await createTasks(tx, caller, wishes, request.requestId);
          changes = created.changes;
          return { tasks: created.tasks.map(taskToMessage) };
        },
      });
      waiting.announce(changes);
      return answer;
    },

    async getTask(request, context) {
      const { projectId } = callerOf(context);
      return { task: shownTaskToMessage(await showTask(db, projectId, taskUuid(request.task))) };
    },

    async listTasks(request, context) {
      const { projectId } = callerOf(context);
      const { state, kind, agent, labels, orderBy } = request;
      const query = [state, kind, agent, labels, orderBy];
      const page = readPageRequest(request.pageSize, request.pageToken, ["instant", "uuid"], query);
      const filter = await filterOf(db, projectId, request);
      if (filter === undefined) return {};
      const { tasks, fitting } = await listTasks(db, filter, orderBy === "created_at", page, MOST_TASK_BYTES);
      const cut = { ...page, size: Math.min(page.size, fitting) };
      // The store has measured the tasks, so that those which do not fit need not be read.
      const { rows, nextPageToken } = cutPage(
        tasks,
        cut,
        (row) => [row.sortTime, row.id],
        () => 0,
      );
      return { tasks: rows.map(taskToMessage), nextPageToken };
    },

    async explainTask(request, context) {
      const { projectId } = callerOf(context);
      return { explanation: await explainOneTask(db, sources, projectId, taskUuid(request.task)) };
    },

    async listAttempts(request, context) {
      const { projectId } = callerOf(context);
      const { orderBy } = request;
      const taskId = taskUuid(request.task);
      const page = readPageRequest(request.pageSize, request.pageToken, ["integer"], [taskId, orderBy]);
      if ((await findHolder(db, projectId, taskId)) === undefined) throw noSuchTask();
      const attempts = await listAttempts(db, projectId, taskId, orderBy === "number desc", page);
      const messages = attempts.map((attempt) => create(AttemptSchema, attemptToMessage(attempt)));
      const { rows, nextPageToken } = cutPage(
        messages,
        page,
        ({ leaseEpoch }) => [String(leaseEpoch)],
        (attempt) => messageSize(AttemptSchema, attempt),
      );
      return { attempts: rows, nextPageToken };
    },

    async retryTask(request, context) {
      const caller = callerOf(context);
      const taskId = taskUuid(request.task);
      let changes: TaskChange[] = [];
      const answer = await answerOnce(db, {
        caller,
        method: "RetryTask",
        input: RetryTaskRequestSchema,
        request,
        output: RetryTaskResponseSchema,
        run: async (tx) => {
          const { reason, requestId } = request;
          changes = await retryTask(tx, caller, taskId, { reason, requestId }, rules);
          return { task: shownTaskToMessage(await showTask(tx, caller.projectId, taskId)) };
        },
      });
      waiting.announce(changes);
      return answer;
    },

    async cancelTask(request, context) {
      const caller = callerOf(context);
      const taskId = taskUuid(request.task);
      let changes: TaskChange[] = [];
      const answer = await answerOnce(db, {
        caller,
        method: "CancelTask",
        input: CancelTaskRequestSchema,
        request,
        output: CancelTaskResponseSchema,
        run: async (tx) => {
          const { reason, requestId } = request;
          changes = await cancelTask(tx, caller, taskId, { reason, requestId }, rules);
          return { task: shownTaskToMessage(await showTask(tx, caller.projectId, taskId)) };
        },
      });
      waiting.announce(changes);
      return answer;
    },
  };
}

/** As `payload_bytes` keeps them. */
function payloadSizes(wishes: readonly NewTaskWish[]): number[] {
  return wishes.map(({ payload }) => payload?.bytes ?? 0);
}

function wishOf(request: CreateTaskRequest): NewTaskWish {
  const { kind, labels, notBefore, requiredLabels } = request;
  return {
    kind,
    labels,
    payload: packJson(request.payload),
    priority: request.priority ?? DEFAULT_PRIORITY,
    maxRetries: request.maxRetries ?? DEFAULT_MAX_RETRIES,
    timeoutMs: request.timeout && durationMs(request.timeout),
    notBefore,
    requirements: { capabilities: [...new Set(request.requiredCapabilities)], labels: requiredLabels },
  };
}

/** One id stands for the whole batch: a task of it could not be repeated alone. */
function refuseInnerIds({ requests }: BatchCreateTasksRequest): void {
  const place = requests.findIndex(({ requestId }) => requestId !== "");
  if (place >= 0)
    throw invalidField(`requests[${place}].request_id`, "must be left out: the batch has one of its own");
}

/** The UUID of a task's id; validation has refused what is none. */
export function taskUuid(text: string): string {
  const uuid = parseId("task", text);
  if (uuid === undefined) throw invalidField("task", "must be task_ and a UUID");
  return uuid;
}

/** Undefined where the filter names an agent that nobody knows: the list is empty then. */
export async function filterOf(
  db: Db | Tx,
  projectId: string,
  request: Pick<ListTasksRequest, "state" | "kind" | "agent" | "labels">,
): Promise<TaskFilter | undefined> {
  const agentId = request.agent === "" ? undefined : await findAgentId(db, projectId, request.agent);
  if (request.agent !== "" && agentId === undefined) return undefined;
  return {
    projectId,
    states: [...new Set(request.state.map(stateFromMessage))],
    kinds: request.kind,
    agentId,
    labels: labelFilterOf(request.labels),
  };
}
