import type { ServiceImpl } from "@connectrpc/connect";
import {
  type FleetService,
  SendCommandRequestSchema,
  SendCommandResponseSchema,
} from "../../gen/drover/v1/fleet_service_pb.js";
import { sendableKinds } from "../commands/command.ts";
import { commandToMessage } from "../commands/command-message.ts";
import { answerOnce } from "../idempotency/answer-once.ts";
import { callerOf } from "../identity/caller.ts";
import { invalidField } from "../runtime/refusal.ts";
import type { Db } from "../storage/database.ts";
import { sendCommand } from "./send-command.ts";

/** SendCommand of FleetService; `commandWaits` hears after the commit of an agent that is to do something. */
export function createSendCommandRpc(
  db: Db,
  commandWaits: (agentId: string) => void,
): Pick<ServiceImpl<typeof FleetService>, "sendCommand"> {
  return {
    async sendCommand(request, context) {
      const caller = callerOf(context);
      const { agent, reason, requestId } = request;
      const kind = sendableKinds.find((known) => known === request.kind);
      // Validation has refused it before.
      if (kind === undefined) throw invalidField("kind", `must be one of ${sendableKinds.join(", ")}`);
      let agentId: string | undefined;
      const answer = await answerOnce(db, {
        caller,
        method: "SendCommand",
        input: SendCommandRequestSchema,
        request,
        output: SendCommandResponseSchema,
        run: async (tx) => {
          const sent = await sendCommand(tx, caller, { agent, kind, reason, requestId });
          agentId = sent.agentId;
          return { command: commandToMessage(sent.command) };
        },
      });
      if (agentId !== undefined) commandWaits(agentId);
      return answer;
    },
  };
}
