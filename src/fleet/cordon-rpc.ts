import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { AgentSchema } from "../../gen/drover/v1/agent_pb.js";
import {
  CordonAgentRequestSchema,
  CordonAgentResponseSchema,
  DrainAgentRequestSchema,
  DrainAgentResponseSchema,
  type FleetService,
  UncordonAgentRequestSchema,
  UncordonAgentResponseSchema,
} from "../../gen/drover/v1/fleet_service_pb.js";
import { requireAgent } from "../agents/agent-service.ts";
import { type CordonChange, orderCordon } from "../agents/cordon-service.ts";
import type { CordonOrder } from "../agents/decide-cordon.ts";
import { answerOnce } from "../idempotency/answer-once.ts";
import { callerOf } from "../identity/caller.ts";
import type { Db } from "../storage/database.ts";
import { showAgent } from "./show-agent.ts";

/** Hears after the commit of agents whose cordon changed. */
export type CordonListener = (changes: readonly CordonChange[]) => void;

type CordonRpc = Pick<ServiceImpl<typeof FleetService>, "cordonAgent" | "uncordonAgent" | "drainAgent">;

/** CordonAgent, UncordonAgent and DrainAgent of FleetService. */
export function createCordonRpc(db: Db, listener: CordonListener): CordonRpc {
  return {
    cordonAgent: (request, context) =>
      order(db, listener, context, request, { kind: "cordon" }, "cordoned by an operator", {
        method: "CordonAgent",
        input: CordonAgentRequestSchema,
        output: CordonAgentResponseSchema,
      }),
    uncordonAgent: (request, context) =>
      order(db, listener, context, request, { kind: "uncordon" }, "uncordoned by an operator", {
        method: "UncordonAgent",
        input: UncordonAgentRequestSchema,
        output: UncordonAgentResponseSchema,
      }),
    drainAgent: (request, context) => {
      const withinMs = request.deadline && durationMs(request.deadline);
      return order(db, listener, context, request, { kind: "drain", withinMs }, "drained by an operator", {
        method: "DrainAgent",
        input: DrainAgentRequestSchema,
        output: DrainAgentResponseSchema,
      });
    },
  };
}

interface Method<In extends DescMessage, Out extends DescMessage> {
  method: string;
  input: In;
  output: Out;
}

type OrderRequest = { agent: string; reason: string; requestId: string };

async function order<In extends DescMessage, Out extends DescMessage>(
  db: Db,
  listener: CordonListener,
  context: Pick<HandlerContext, "values">,
  request: MessageShape<In> & OrderRequest,
  wish: CordonOrder,
  byDefault: string,
  method: Method<In, Out>,
): Promise<{ agent: MessageInitShape<typeof AgentSchema> }> {
  const caller = callerOf(context);
  const { projectId, actor } = caller;
  const { requestId } = request;
  const reason = request.reason === "" ? byDefault : request.reason;
  let changes: CordonChange[] = [];
  const answer = await answerOnce(db, {
    caller,
    ...method,
    request,
    run: async (tx) => {
      const { id: agentId } = await requireAgent(tx, projectId, request.agent);
      changes = await orderCordon(tx, [{ projectId, agentId }], wish, { actor, reason, requestId });
      // Each of the three answers is an agent in a field of that name.
      return { agent: await showAgent(tx, projectId, request.agent) } as unknown as MessageInitShape<Out>;
    },
  });
  listener(changes);
  // As above.
  return answer as unknown as { agent: MessageInitShape<typeof AgentSchema> };
}
