import { durationMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import {
  CancelTaskRequestSchema,
  CancelTaskResponseSchema,
  CreateTaskRequestSchema,
  CreateTaskResponseSchema,
  type ListTasksRequest,
  type TaskService,
} from "../../gen/drover/v1/task_service_pb.js";
import { findAgentId } from "../agents/agent-service.ts";
import { answerOnce } from "../idempotency/answer-once.ts";
import { callerOf } from "../identity/caller.ts";
import { packJson } from "../runtime/json-value.ts";
import { invalidField } from "../runtime/refusal.ts";
import { parseId } from "../runtime/resource-id.ts";
import type { Db } from "../storage/database.ts";
import { cutPage, readPageRequest } from "../storage/page.ts";
import { MOST_TASK_BYTES, type TaskRules } from "./loan-service.ts";
import type { TaskChange } from "./task-change.ts";
import { shownTaskToMessage, stateFromMessage, taskToMessage } from "./task-message.ts";
import { cancelTask, createTask, showTask } from "./task-service.ts";
import { listTasks, type TaskFilter } from "./task-store.ts";
import type { WaitingClaims } from "./waiting-claims.ts";

const DEFAULT_PRIORITY = 5;
const DEFAULT_MAX_RETRIES = 3;

/** TaskService: work, for operators. */
export function createTaskRpc(
  db: Db,
  rules: TaskRules,
  waiting: WaitingClaims,
): ServiceImpl<typeof TaskService> {
  return {
    async createTask(request, context) {
      const caller = callerOf(context);
      const { kind, labels, requestId } = request;
      const wish = {
        kind,
        labels,
        payload: packJson(request.payload),
        priority: request.priority ?? DEFAULT_PRIORITY,
        maxRetries: request.maxRetries ?? DEFAULT_MAX_RETRIES,
        timeoutMs: request.timeout && durationMs(request.timeout),
      };
      let changes: TaskChange[] = [];
      const answer = await answerOnce(db, {
        caller,
        method: "CreateTask",
        input: CreateTaskRequestSchema,
        request,
        output: CreateTaskResponseSchema,
        run: async (tx) => {
          const created = await createTask(tx, caller, wish, requestId);
          changes = created.changes;
          return { task: shownTaskToMessage(await showTask(tx, caller.projectId, created.taskId)) };
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

/** The UUID of a task's id; validation has refused what is none. */
export function taskUuid(text: string): string {
  const uuid = parseId("task", text);
  if (uuid === undefined) throw invalidField("task", "must be task_ and a UUID");
  return uuid;
}

/** Undefined where the filter names an agent that nobody knows: the list is empty then. */
async function filterOf(
  db: Db,
  projectId: string,
  request: ListTasksRequest,
): Promise<TaskFilter | undefined> {
  const agentId = request.agent === "" ? undefined : await findAgentId(db, projectId, request.agent);
  if (request.agent !== "" && agentId === undefined) return undefined;
  const pairs = request.labels.map((label): [string, string] => {
    const at = label.indexOf("=");
    return [label.slice(0, at), label.slice(at + 1)];
  });
  return {
    projectId,
    states: [...new Set(request.state.map(stateFromMessage))],
    kinds: request.kind,
    agentId,
    labels: Object.fromEntries(pairs),
  };
}
