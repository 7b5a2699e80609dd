/** The only full wiring: from a database and settings to a serving control plane. */
import type { Interceptor } from "@connectrpc/connect";
import { AgentService } from "../gen/drover/v1/agent_service_pb.js";
import { EventService } from "../gen/drover/v1/event_service_pb.js";
import { FleetService } from "../gen/drover/v1/fleet_service_pb.js";
import { ProjectService } from "../gen/drover/v1/project_service_pb.js";
import { TaskService } from "../gen/drover/v1/task_service_pb.js";
import { TokenService } from "../gen/drover/v1/token_service_pb.js";
import { findAgentId } from "./agents/agent-service.ts";
import { createEnrollRpc } from "./agents/enroll-rpc.ts";
import { createAuditRpc } from "./audit/audit-rpc.ts";
import { type Config, SettingError, thresholdsOf } from "./config.ts";
import { createApiDocs } from "./doors/api-docs.ts";
import { type BoundAddress, type Door, type ServedService, serve } from "./doors/door.ts";
import { createGrpcDoor } from "./doors/grpc-door.ts";
import { createHealthService, HealthState } from "./doors/health.ts";
import { createProbes } from "./doors/probes.ts";
import { createRestDoor, restContextValues } from "./doors/rest-door.ts";
import { createWebDoor } from "./doors/web-door.ts";
import { createErrorListRpc, createReportErrorRpc } from "./error-reports/error-report-rpc.ts";
import { createFleetRpc } from "./fleet/fleet-rpc.ts";
import { createHeartbeatRpc } from "./heartbeat/heartbeat-rpc.ts";
import { type HeartbeatListener, HeartbeatService } from "./heartbeat/heartbeat-service.ts";
import { forgetOldEffects } from "./heartbeat/heartbeat-store.ts";
import { forgetOldAnswers } from "./idempotency/answer-once.ts";
import type { Caller } from "./identity/caller.ts";
import { confirmCaller } from "./identity/confirm-caller.ts";
import { createLeaveRpc } from "./liveness/leave-rpc.ts";
import { LivenessSweeper } from "./liveness/liveness-sweeper.ts";
import type { Logger } from "./observability/logger.ts";
import { createProjectRpc } from "./projects/project-rpc.ts";
import { findProjectByName } from "./projects/project-store.ts";
import { createAccessInterceptor } from "./rpc/access-interceptor.ts";
import { createErrorInterceptor } from "./rpc/error-interceptor.ts";
import { GuessLimiter } from "./rpc/guess-limiter.ts";
import { describeApi } from "./rpc/openapi.ts";
import { createValidationInterceptor } from "./rpc/validation-interceptor.ts";
import { formatId } from "./runtime/resource-id.ts";
import type { Service } from "./runtime/service.ts";
import type { Database } from "./storage/database.ts";
import { Pruner } from "./storage/pruner.ts";
import { findDue } from "./tasks/claim-store.ts";
import { forgetOldCommands } from "./tasks/command-store.ts";
import type { ReportUnhandled } from "./tasks/end-attempts.ts";
import { HeldTasks } from "./tasks/held-tasks.ts";
import { createLoanRpc } from "./tasks/loan-rpc.ts";
import { LoanService, type TaskRules } from "./tasks/loan-service.ts";
import { createTaskRpc } from "./tasks/task-rpc.ts";
import { WaitingClaims } from "./tasks/waiting-claims.ts";
import { authenticate } from "./tokens/authenticate.ts";
import { LastUsedRecorder } from "./tokens/last-used.ts";
import { createRotateTokenRpc, createTokenRpc } from "./tokens/token-rpc.ts";
import { createTranscoder } from "./transcoder/transcoder.ts";

/** A control plane that serves while it is started. */
export interface ControlPlane extends Service {
  /** Where the doors listen; known once started. */
  readonly addresses: { http: BoundAddress; grpc: BoundAddress };
}

export function createControlPlane(database: Database, config: Config, logger: Logger): ControlPlane {
  const { db } = database;
  const lastUsed = new LastUsedRecorder(db, (error) =>
    logger.warn({ err: error }, "uses of tokens were not noted"),
  );
  const pruner = new Pruner(
    [
      (batchSize) => forgetOldAnswers(db, batchSize),
      (batchSize) => forgetOldEffects(db, batchSize),
      (batchSize) => forgetOldCommands(db, batchSize),
    ],
    (error) => logger.warn({ err: error }, "old records were not forgotten; it is tried again"),
  );
  const health = new HealthState();
  const tasks = createTasks(database, config, logger);
  const services = [...createServices(database, config, tasks, logger), createHealthService(health)];
  const interceptors = createInterceptors(database, lastUsed, logger);
  const report = (problem: string, error: unknown) => logger.warn({ err: error }, problem);
  const transcoder = createTranscoder({
    services,
    interceptors,
    enumNames: "short",
    contextValues: restContextValues,
    reportFault: (fault, rpc) => report(`${rpc} failed`, fault),
  });
  const docs = createApiDocs(describeApi(transcoder.routes));
  const ready = async () => {
    await database.sql`SELECT 1`;
    return undefined;
  };
  const web = createWebDoor({
    ...config.httpAddress,
    services,
    interceptors,
    handlers: [createRestDoor(transcoder), docs, createProbes({ database: ready })],
    corsOrigins: config.corsOrigins,
    report,
  });
  const grpc = createGrpcDoor({ ...config.grpcAddress, services, interceptors });
  const { waiting } = tasks;
  const sweeper = createSweeper(database, config, tasks, logger);
  return assemble({ web, grpc, background: [lastUsed, pruner, waiting, sweeper], waiting, health, services });
}

function assemble(parts: {
  web: Door;
  grpc: Door;
  background: Service[];
  /** Calls that wait: they end before the doors do, which wait for calls. */
  waiting: Service;
  health: HealthState;
  services: ServedService[];
}): ControlPlane {
  const { web, grpc, background, waiting, health, services } = parts;
  return {
    get addresses() {
      return { http: web.address, grpc: grpc.address };
    },
    async start() {
      for (const service of background) await service.start();
      for (const name of ["", ...services.map(({ service }) => service.typeName)]) health.set(name, true);
      await listening("DROVER_HTTP_ADDR", web);
      await listening("DROVER_GRPC_ADDR", grpc);
    },
    async stop() {
      health.stopServing();
      await waiting.stop();
      await Promise.all([web.stop(), grpc.stop()]);
      for (const service of background) await service.stop();
    },
  };
}

/** Starts a door; where its address cannot be had, the sentence names the setting that chose it. */
async function listening(setting: string, door: Door): Promise<void> {
  try {
    await door.start();
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    const reason = addressProblems.find(([code]) => text.includes(code))?.[1];
    if (reason === undefined) throw error;
    throw new SettingError([`${setting} names an address that ${reason}.`], error);
  }
}

/** grpc-js tells the system's code in its words alone. */
const addressProblems = [
  ["EADDRINUSE", "another program uses: stop that program, or choose another port"],
  ["EADDRNOTAVAIL", "this machine does not have"],
  ["EACCES", "this user may not use: ports below 1024 need a privilege"],
  ["ENOTFOUND", "no name service knows"],
  ["EAI_AGAIN", "no name service knows"],
] as const;

/** What the services share of tasks. */
interface Tasks {
  rules: TaskRules;
  waiting: WaitingClaims;
  held: HeldTasks;
  loans: LoanService;
  unhandled: ReportUnhandled;
}

function createTasks({ db }: Database, config: Config, logger: Logger): Tasks {
  const { leaseMs, retryBackoffMs: firstMs, retryBackoffMaxMs: longestMs } = config;
  const rules: TaskRules = { leaseMs, backoff: { firstMs, longestMs } };
  const unhandled: ReportUnhandled = ({ taskId }, error) =>
    logger.error(
      { err: error, task: formatId("task", taskId) },
      "a task could not be handled when its loan ended",
    );
  const waiting = new WaitingClaims(
    (awaited) => findDue(db, awaited),
    (error) =>
      logger.warn({ err: error }, "the database was not asked for tasks that are due; it is tried again"),
  );
  const held = new HeldTasks(db, rules, waiting, unhandled);
  return { rules, waiting, held, loans: new LoanService(db, rules, waiting), unhandled };
}

function createSweeper(database: Database, config: Config, tasks: Tasks, logger: Logger): LivenessSweeper {
  const { rules, waiting, unhandled } = tasks;
  return new LivenessSweeper(database, {
    thresholds: thresholdsOf(config),
    giveBack: { backoff: rules.backoff, report: unhandled },
    listener: {
      lost({ project, agent, from, to, reason }) {
        logger.info({ project, agent, from, to, reason }, "agent liveness changed");
      },
      tasksChanged: (changes) => waiting.announce(changes),
      failed: (error) => logger.warn({ err: error }, "silent agents were not looked for; it is tried again"),
    },
  });
}

function createServices(database: Database, config: Config, tasks: Tasks, logger: Logger): ServedService[] {
  const { db } = database;
  const { rules, waiting, held, loans } = tasks;
  const listener = createHeartbeatListener(logger);
  const heartbeats = new HeartbeatService(db, held, listener, config.agentTokenTtlMs);
  const revoked = (tokenIds: string[]) => {
    for (const id of tokenIds) logger.info({ tokenId: formatId("token", id) }, "token revoked");
  };
  const resolveSubject = async (projectId: string, nameOrId: string) => {
    const agentId = await findAgentId(db, projectId, nameOrId);
    return agentId === undefined ? nameOrId : formatId("agent", agentId);
  };
  return [
    serve(AgentService, {
      ...createEnrollRpc(db, config),
      ...createHeartbeatRpc(heartbeats, held, config.heartbeatIntervalMs),
      ...createReportErrorRpc(db, (tx, agent, taskId) => held.findHeld(tx, agent, taskId)),
      ...createLoanRpc(loans),
      ...createLeaveRpc(db, held, ({ project, agentName: agent }, { from, to, reason }) =>
        logger.info({ project, agent, from, to, reason }, "agent liveness changed"),
      ),
      ...createRotateTokenRpc(db, config.agentTokenTtlMs),
    }),
    serve(FleetService, {
      ...createFleetRpc(db, { transition: listener.transition, revoked }, held),
      ...createErrorListRpc(db),
    }),
    serve(EventService, createAuditRpc(db, resolveSubject)),
    serve(TaskService, createTaskRpc(db, rules, waiting)),
    serve(TokenService, createTokenRpc(db, revoked)),
    serve(ProjectService, createProjectRpc(db)),
  ];
}

function createInterceptors(database: Database, lastUsed: LastUsedRecorder, logger: Logger): Interceptor[] {
  const { db } = database;
  const access = {
    authenticate: (authorization: string | null, mayRenew: boolean) =>
      authenticate(db, authorization, mayRenew),
    findProject: (name: string) => findProjectByName(db, name),
    confirm: (caller: Caller) => confirmCaller(db, caller),
    used: (tokenId: string) => lastUsed.used(tokenId),
  };
  return [
    createErrorInterceptor((method, error) => logger.error({ err: error, method }, "a call failed")),
    createAccessInterceptor(access, new GuessLimiter()),
    createValidationInterceptor(),
  ];
}

function createHeartbeatListener(logger: Logger): HeartbeatListener {
  return {
    transition({ project, agent, from, to, reason }) {
      logger.info({ project, agent, from, to, reason }, "agent status changed");
    },
    linkDropped(caller, { taskId, leaseEpoch }) {
      const { project, agentName: agent } = caller;
      const lease = { project, agent, task: taskId, leaseEpoch: String(leaseEpoch) };
      logger.warn(lease, "a heartbeat named a task that its agent does not hold");
    },
    agentGone({ project, agentName: agent }) {
      logger.warn({ project, agent }, "a heartbeat came from an agent that was removed");
    },
  };
}
