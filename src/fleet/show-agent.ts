import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type AgentSchema, CurrentTaskSchema, RecentErrorsSchema } from "../../gen/drover/v1/agent_pb.js";
import { agentToMessage } from "../agents/agent-message.ts";
import { readAgents, requireAgent } from "../agents/agent-service.ts";
import type { AgentRecord } from "../agents/agent-store.ts";
import { severityToMessage, toInt32 } from "../error-reports/error-report-message.ts";
import { recentErrors } from "../error-reports/error-report-service.ts";
import { formatId } from "../runtime/resource-id.ts";
import type { Db, Tx } from "../storage/database.ts";
import { currentTasks } from "../tasks/task-service.ts";

/** The agent of that name as operators see it, or NOT_FOUND. */
export async function showAgent(
  db: Db | Tx,
  projectId: string,
  name: string,
): Promise<MessageInitShape<typeof AgentSchema>> {
  const agent = await requireAgent(db, projectId, name);
  const [message] = await withErrors(db, projectId, [agent]);
  return message ?? {};
}

/** The agents of these ids as operators see them, by name. */
export async function showAgents(
  db: Db | Tx,
  projectId: string,
  ids: readonly string[],
): Promise<MessageInitShape<typeof AgentSchema>[]> {
  return ids.length === 0 ? [] : await withErrors(db, projectId, await readAgents(db, projectId, ids));
}

/** Agents with their recent errors and their tasks at hand. */
export async function withErrors(
  db: Db | Tx,
  projectId: string,
  agents: AgentRecord[],
): Promise<MessageInitShape<typeof AgentSchema>[]> {
  const ids = agents.map((agent) => agent.id);
  const errors = await recentErrors(db, projectId, ids);
  const current = await currentTasks(db, projectId, agents.flatMap(linkOf));
  return agents.map((agent) => {
    const task = current.get(agent.id);
    const own = errors.get(agent.id);
    const recent =
      own &&
      create(RecentErrorsSchema, {
        count: toInt32(own.count),
        worstSeverity: severityToMessage(own.worstRank),
      });
    return {
      ...agentToMessage(agent),
      ...(recent && { recentErrors: recent }),
      ...(task && {
        currentTask: create(CurrentTaskSchema, { ...task, taskId: formatId("task", task.taskId) }),
      }),
    };
  });
}

/** What its newest heartbeat named as the task at hand, which may have ended since. */
function linkOf({ id: agentId, currentTaskId: taskId, currentLeaseEpoch: leaseEpoch }: AgentRecord) {
  return taskId === null || leaseEpoch === null ? [] : [{ agentId, taskId, leaseEpoch }];
}
