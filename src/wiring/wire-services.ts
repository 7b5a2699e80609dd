import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { EventService } from "../../gen/drover/v1/event_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { ProjectService } from "../../gen/drover/v1/project_service_pb.js";
import { TaskService } from "../../gen/drover/v1/task_service_pb.js";
import { TokenService } from "../../gen/drover/v1/token_service_pb.js";
import { findAgentId } from "../agents/agent-service.ts";
import { createEnrollRpc } from "../agents/enroll-rpc.ts";
import { createAuditRpc } from "../audit/audit-rpc.ts";
import type { Config } from "../config.ts";
import { type ServedService, serve } from "../doors/door.ts";
import { createErrorListRpc, createReportErrorRpc } from "../error-reports/error-report-rpc.ts";
import { createBatchCordonRpc } from "../fleet/batch-cordon-rpc.ts";
import { createCordonRpc } from "../fleet/cordon-rpc.ts";
import { createExplainAgentRpc } from "../fleet/explain-agent-rpc.ts";
import { createFleetRpc } from "../fleet/fleet-rpc.ts";
import { createListSessionsRpc } from "../fleet/list-sessions-rpc.ts";
import { createSendCommandRpc } from "../fleet/send-command-rpc.ts";
import { createHeartbeatRpc } from "../heartbeat/heartbeat-rpc.ts";
import type { AgentCaller } from "../identity/caller.ts";
import { findBrake } from "../liveness/apply-brakes.ts";
import { brakeReasons } from "../liveness/brake-reasons.ts";
import { createLeaveRpc } from "../liveness/leave-rpc.ts";
import type { Logger } from "../observability/logger.ts";
import type { Tracing } from "../observability/tracing.ts";
import { createProjectRpc } from "../projects/project-rpc.ts";
import { explainError } from "../rpc/error-interceptor.ts";
import type { ValidateMessage } from "../rpc/validate-message.ts";
import { formatId } from "../runtime/resource-id.ts";
import { MessageTrace } from "../sessions/message-trace.ts";
import { createSessionRpc } from "../sessions/session-rpc.ts";
import { createWatchCommandsRpc } from "../sessions/watch-commands-rpc.ts";
import type { Database } from "../storage/database.ts";
import { createBatchRpc } from "../tasks/batch-rpc.ts";
import type { AskedKinds } from "../tasks/explain-service.ts";
import { createLoanRpc } from "../tasks/loan-rpc.ts";
import { createTaskRpc } from "../tasks/task-rpc.ts";
import { createRotateTokenRpc, createTokenRpc } from "../tokens/token-rpc.ts";
import { renewalDueMs } from "../tokens/token-service.ts";
import { tellOfCordons } from "./tell-of-cordons.ts";
import type { Events } from "./wire-events.ts";
import type { Heartbeats } from "./wire-heartbeats.ts";
import type { Streams } from "./wire-streams.ts";
import type { Tasks } from "./wire-tasks.ts";

/** The services of the contract, but for those of passes and trackers. */
export function createServices(
  database: Database,
  config: Config,
  tasks: Tasks,
  streams: Streams,
  events: Events,
  { service: heartbeats, pacer, listener }: Heartbeats,
  validate: ValidateMessage,
  logger: Logger,
  tracing: Tracing | undefined,
): ServedService[] {
  const { db } = database;
  const { rules, waiting, held, quotas } = tasks;
  const askedKinds: AskedKinds = (projectId) =>
    new Map([...waiting.askedKinds(projectId), ...streams.assigner.askedKinds(projectId)]);
  const tellBrake = async (projectId: string) => {
    const brake = await findBrake(db, projectId);
    return brake && brakeReasons[brake];
  };
  const revoked = (tokenIds: string[]) => {
    streams.open.end(tokenIds);
    for (const id of tokenIds) logger.info({ tokenId: formatId("token", id) }, "token revoked");
  };
  const resolveSubject = async (projectId: string, nameOrId: string) => {
    const agentId = await findAgentId(db, projectId, nameOrId);
    return agentId === undefined ? nameOrId : formatId("agent", agentId);
  };
  const calls = {
    ...createHeartbeatRpc(heartbeats, held, pacer),
    ...createReportErrorRpc(db, (tx, agent, taskId) => held.findHeld(tx, agent, taskId), quotas),
    ...createLoanRpc(tasks.claims, tasks.loans, (agentId, max, claim) =>
      streams.slots.claim(agentId, max, claim),
    ),
    ...createLeaveRpc(db, held, ({ project, agentName: agent }, { from, to, reason }) =>
      logger.info({ project, agent, from, to, reason }, "agent liveness changed"),
    ),
  };
  const enter = (caller: AgentCaller, bootId: string) => heartbeats.enter(caller, bootId);
  const session = createSessionRpc({
    calls,
    ...streams,
    streams: streams.open,
    enterByStream: (caller, bootId) => heartbeats.enterByStream(caller, bootId),
    validate,
    explain: (error) =>
      explainError(error, () => logger.error({ err: error, method: "Session" }, "a message failed")),
    renewalDueMs: (caller) => renewalDueMs(db, caller),
    onError: streams.report,
    pace: pacer,
    trace: tracing && new MessageTrace(tracing),
  });
  return [
    serve(AgentService, {
      ...createEnrollRpc(db, config, pacer),
      ...calls,
      ...session,
      ...createWatchCommandsRpc({ ...streams, streams: streams.open, enter, onError: streams.report }),
      ...createRotateTokenRpc(db, config.agentTokenTtlMs),
    }),
    serve(FleetService, {
      ...createFleetRpc(db, { transition: listener.transition, revoked }, held),
      ...createExplainAgentRpc(db, askedKinds),
      ...createListSessionsRpc(db),
      ...createErrorListRpc(db),
      ...createCordonRpc(db, (changes) => tellOfCordons(logger, streams.registry, changes)),
      ...createBatchCordonRpc(db, (changes) => tellOfCordons(logger, streams.registry, changes)),
      ...createSendCommandRpc(db, (agentId) => streams.registry.commandWaits(agentId)),
    }),
    serve(EventService, { ...createAuditRpc(db, resolveSubject), ...events.rpc }),
    serve(TaskService, {
      ...createTaskRpc(db, rules, waiting, { askedKinds, tellBrake }, quotas),
      ...createBatchRpc(db, rules, waiting),
    }),
    serve(TokenService, createTokenRpc(db, revoked)),
    serve(ProjectService, createProjectRpc(db)),
  ];
}
