import type { ServiceImpl } from "@connectrpc/connect";
import { AgentSchema } from "../../gen/drover/v1/agent_pb.js";
import {
  type FleetService,
  type ListAgentsRequest,
  RemoveAgentRequestSchema,
  RemoveAgentResponseSchema,
  ResetAgentRequestSchema,
  ResetAgentResponseSchema,
} from "../../gen/drover/v1/fleet_service_pb.js";
import {
  agentToMessage,
  cordonFromMessage,
  livenessFromMessage,
  statusFromMessage,
} from "../agents/agent-message.ts";
import { type AgentFilter, type AgentOrder, listAgents, sortKeysOf } from "../agents/list-agents.ts";
import { answerOnce } from "../idempotency/answer-once.ts";
import { type Caller, callerOf } from "../identity/caller.ts";
import { labelFilterOf } from "../runtime/label-filter.ts";
import { messageSize } from "../runtime/message-size.ts";
import type { Db } from "../storage/database.ts";
import { cutPage, readPageRequest } from "../storage/page.ts";
import type { HeldTasks } from "../tasks/held-tasks.ts";
import { type OperatorTransition, type Removal, removeAgent, resetAgent } from "./fleet-service.ts";
import { showAgent, withErrors } from "./show-agent.ts";

export interface FleetListener {
  /** An operator changed an agent's status; called after the commit. */
  transition(transition: OperatorTransition & { projectId: string; project: string }): void;
  /** Tokens ended; called after the commit. */
  revoked(tokenIds: string[]): void;
}

type FleetRpc = Pick<
  ServiceImpl<typeof FleetService>,
  "listAgents" | "getAgent" | "resetAgent" | "removeAgent"
>;

/** What operators see of agents and do to them. */
export function createFleetRpc(
  db: Db,
  listener: FleetListener,
  tasks: Pick<HeldTasks, "giveBack" | "announce">,
): FleetRpc {
  return {
    async listAgents(request, context) {
      const { projectId } = callerOf(context);
      const order = readOrder(request.orderBy);
      const page = readPageRequest(
        request.pageSize,
        request.pageToken,
        sortKeysOf(order.by),
        filterKey(request),
      );
      const found = await listAgents(db, filterOf(projectId, request), order, page);
      const { rows, nextPageToken } = cutPage(
        found,
        page,
        (row) => [row.sortValue, row.id],
        (row) => messageSize(AgentSchema, agentToMessage(row)),
      );
      return { agents: await withErrors(db, projectId, rows), nextPageToken };
    },

    async getAgent(request, context) {
      const { projectId } = callerOf(context);
      return { agent: await showAgent(db, projectId, request.agent) };
    },

    async resetAgent(request, context) {
      const caller = callerOf(context);
      let transition: OperatorTransition | undefined;
      const answer = await answerOnce(db, {
        caller,
        method: "ResetAgent",
        input: ResetAgentRequestSchema,
        request,
        output: ResetAgentResponseSchema,
        run: async (tx) => {
          transition = await resetAgent(tx, caller, request.agent, request.requestId);
          return { agent: await showAgent(tx, caller.projectId, request.agent) };
        },
      });
      tell(listener, caller, transition);
      return answer;
    },

    async removeAgent(request, context) {
      const caller = callerOf(context);
      let removal: Removal = { revoked: [], changes: [] };
      const answer = await answerOnce(db, {
        caller,
        method: "RemoveAgent",
        input: RemoveAgentRequestSchema,
        request,
        output: RemoveAgentResponseSchema,
        run: async (tx) => {
          removal = await removeAgent(tx, caller, request.agent, request.requestId, tasks);
          return {};
        },
      });
      listener.revoked(removal.revoked);
      tasks.announce(removal.changes);
      return answer;
    },
  };
}

function tell(listener: FleetListener, caller: Caller, transition: OperatorTransition | undefined): void {
  if (transition === undefined) return;
  listener.transition({ ...transition, projectId: caller.projectId, project: caller.project });
}

function readOrder(orderBy: string): { by: AgentOrder; descending: boolean } {
  const [by = "", direction] = orderBy.split(" ");
  const descending = direction === "desc";
  // Validation has left these three alone.
  if (by === "created_at" || by === "last_heartbeat_at") return { by, descending };
  return { by: "name", descending };
}

function filterKey(request: ListAgentsRequest): unknown {
  const { status, liveness, cordon, namePrefix, labels, orderBy } = request;
  return [status, liveness, cordon, namePrefix, labels, orderBy];
}

export function filterOf(
  projectId: string,
  request: Pick<ListAgentsRequest, "status" | "liveness" | "cordon" | "namePrefix" | "labels">,
): AgentFilter {
  return {
    projectId,
    statuses: request.status.map(statusFromMessage),
    livenesses: request.liveness.map(livenessFromMessage),
    cordons: request.cordon.map(cordonFromMessage),
    namePrefix: request.namePrefix,
    labels: labelFilterOf(request.labels),
  };
}
