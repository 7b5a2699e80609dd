import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import {
  AgentSchema,
  type AgentStatus,
  type Cordon as CordonNumber,
  type Liveness,
} from "../../gen/drover/v1/agent_pb.js";
import {
  BatchCordonAgentsRequestSchema,
  BatchCordonAgentsResponseSchema,
  BatchDrainAgentsRequestSchema,
  BatchDrainAgentsResponseSchema,
  BatchUncordonAgentsRequestSchema,
  BatchUncordonAgentsResponseSchema,
  type FleetService,
} from "../../gen/drover/v1/fleet_service_pb.js";
import { agentToMessage } from "../agents/agent-message.ts";
import { orderCordon } from "../agents/cordon-service.ts";
import type { CordonOrder, CordonState } from "../agents/decide-cordon.ts";
import { listAgents } from "../agents/list-agents.ts";
import { answerMany } from "../idempotency/answer-many.ts";
import { callerOf } from "../identity/caller.ts";
import { messageSize } from "../runtime/message-size.ts";
import type { Db, Tx } from "../storage/database.ts";
import { cutPage } from "../storage/page.ts";
import type { CordonListener } from "./cordon-rpc.ts";
import { filterOf } from "./fleet-rpc.ts";
import { showAgents } from "./show-agent.ts";

const MOST_AGENTS = 1_000;

type BatchCordonRpc = Pick<
  ServiceImpl<typeof FleetService>,
  "batchCordonAgents" | "batchUncordonAgents" | "batchDrainAgents"
>;

/** BatchCordonAgents, BatchUncordonAgents and BatchDrainAgents of FleetService. */
export function createBatchCordonRpc(db: Db, listener: CordonListener): BatchCordonRpc {
  return {
    batchCordonAgents: (request, context) =>
      run(db, listener, context, request, {
        method: "BatchCordonAgents",
        input: BatchCordonAgentsRequestSchema,
        output: BatchCordonAgentsResponseSchema,
        order: { kind: "cordon" },
        byDefault: "cordoned by an operator",
        cordons: ["none", "draining"],
      }),
    batchUncordonAgents: (request, context) =>
      run(db, listener, context, request, {
        method: "BatchUncordonAgents",
        input: BatchUncordonAgentsRequestSchema,
        output: BatchUncordonAgentsResponseSchema,
        order: { kind: "uncordon" },
        byDefault: "uncordoned by an operator",
        cordons: ["draining", "cordoned"],
      }),
    batchDrainAgents: (request, context) =>
      run(db, listener, context, request, {
        method: "BatchDrainAgents",
        input: BatchDrainAgentsRequestSchema,
        output: BatchDrainAgentsResponseSchema,
        order: { kind: "drain", withinMs: request.deadline && durationMs(request.deadline) },
        byDefault: "drained by an operator",
        cordons: ["none"],
      }),
  };
}

interface BatchRequest {
  status: AgentStatus[];
  liveness: Liveness[];
  cordon: CordonNumber[];
  namePrefix: string;
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
  order: CordonOrder;
  /** The reason where none is given. */
  byDefault: string;
  /** Which are meant where the request names none: those that the order changes, so that a repeat goes on. */
  cordons: CordonState[];
}

type Answer = { agents: MessageInitShape<typeof AgentSchema>[]; more: boolean };

async function run<In extends DescMessage, Out extends DescMessage>(
  db: Db,
  listener: CordonListener,
  context: Pick<HandlerContext, "values">,
  request: MessageShape<In> & BatchRequest,
  { method, input, output, order, byDefault, cordons }: Batch<In, Out>,
): Promise<Answer> {
  const caller = callerOf(context);
  const { projectId, actor } = caller;
  const { requestId, status, liveness, cordon, namePrefix, labels } = request;
  const reason = request.reason === "" ? byDefault : request.reason;
  const { answer, changes } = await answerMany(db, {
    caller,
    method,
    input,
    request,
    output,
    filter: [status, liveness, cordon, namePrefix, labels],
    run: async (tx) => {
      const { ids, more } = await choose(tx, projectId, request, cordons, reason);
      const chosen = ids.map((agentId) => ({ projectId, agentId }));
      const changes = await orderCordon(tx, chosen, order, { actor, reason, requestId });
      const agents = await showAgents(
        tx,
        projectId,
        changes.map(({ agentId }) => agentId),
      );
      return { answer: { agents, more }, changes };
    },
  });
  listener(changes);
  return answer;
}

/** The agents that the filter finds, by name, as far as they fit into one answer, and whether there are more. */
async function choose(
  tx: Tx,
  projectId: string,
  request: BatchRequest,
  cordons: CordonState[],
  reason: string,
): Promise<{ ids: string[]; more: boolean }> {
  const filter = filterOf(projectId, request);
  const meant = filter.cordons.length === 0 ? { ...filter, cordons } : filter;
  const page = { size: request.limit === 0 ? MOST_AGENTS : request.limit, after: undefined, scope: "" };
  const found = await listAgents(tx, meant, { by: "name", descending: false }, page);
  const { rows, nextPageToken } = cutPage(
    found,
    page,
    ({ id }) => [id],
    // The answer holds the reason with each of them.
    (row) => messageSize(AgentSchema, agentToMessage(row)) + Buffer.byteLength(reason) + FURTHER_BYTES,
  );
  return { ids: rows.map(({ id }) => id), more: nextPageToken !== "" };
}

/** A deadline, recent errors and the task at hand, which are in the answer besides. */
const FURTHER_BYTES = 128;
