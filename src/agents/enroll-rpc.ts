import { durationFromMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import type { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { callerWithRole } from "../identity/caller.ts";
import { type Db, inTransaction } from "../storage/database.ts";
import type { JsonObject } from "../storage/schema.ts";
import { agentToMessage } from "./agent-message.ts";
import { enrollAgent } from "./agent-service.ts";

/** Enroll of AgentService. */
export function createEnrollRpc(
  db: Db,
  settings: { agentTokenTtlMs: number },
  pace: { readonly intervalMs: number },
): Pick<ServiceImpl<typeof AgentService>, "enroll"> {
  return {
    async enroll(request, context) {
      const caller = callerWithRole(context, "enrollment");
      const { name, nonce, labels, capabilities } = request;
      const { agentTokenTtlMs } = settings;
      // A google.protobuf.Struct reaches handlers as the JSON object that it is.
      const deviceInfo = (request.deviceInfo as JsonObject | undefined) ?? null;
      const wish = { name, nonce, labels, capabilities, deviceInfo, agentTokenTtlMs };
      const { agent, secret } = await inTransaction(db, (tx) => enrollAgent(tx, caller, wish));
      return {
        agent: agentToMessage(agent),
        secret,
        heartbeatInterval: durationFromMs(pace.intervalMs),
      };
    },
  };
}
