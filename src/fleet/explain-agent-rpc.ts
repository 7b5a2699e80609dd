import type { ServiceImpl } from "@connectrpc/connect";
import type { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { requireAgent } from "../agents/agent-service.ts";
import { newestFatal } from "../error-reports/error-report-service.ts";
import { callerOf } from "../identity/caller.ts";
import { findBrake } from "../liveness/apply-brakes.ts";
import type { Db } from "../storage/database.ts";
import { type AskedKinds, dueRequirements, heldTasks } from "../tasks/explain-service.ts";
import { explainAgent } from "./explain-agent.ts";

/** Why an agent is as it is. */
export function createExplainAgentRpc(
  db: Db,
  askedKinds: AskedKinds,
): Pick<ServiceImpl<typeof FleetService>, "explainAgent"> {
  return {
    async explainAgent(request, context) {
      const { projectId } = callerOf(context);
      const agent = await requireAgent(db, projectId, request.agent);
      const { id, name, status, liveness, cordon, cordonReason, capabilities, labels } = agent;
      const { lastSeenAt, statusChangedAt, flapping, hearing } = agent;
      const signs = { flapping, hearing, brake: await findBrake(db, projectId) };
      const asks = askedKinds(projectId).get(id);
      const held = await heldTasks(db, projectId, id);
      const all = await dueRequirements(db, projectId, []);
      const asked = asks === undefined ? [] : await dueRequirements(db, projectId, asks);
      const offer = { capabilities, labels };
      const facts = { id, name, status, liveness, cordon, cordonReason, offer, held: held.length, asks };
      const newestError = status === "error" ? await newestFatal(db, projectId, id) : undefined;
      const lastSeen = lastSeenAt?.toISOString();
      const times = { lastSeen, statusSince: statusChangedAt.toISOString() };
      return {
        explanation: explainAgent({ ...facts, ...times, ...signs, newestError }, held, { all, asked }),
      };
    },
  };
}
