/** The only full wiring: from a database and settings to a serving control plane. Its parts are in wiring/. */

import { fileURLToPath } from "node:url";
import { PassService } from "../gen/drover/v1/pass_service_pb.js";
import { TrackerService } from "../gen/drover/v1/tracker_service_pb.js";
import { pruneAudit } from "./audit/prune-audit.ts";
import { forgetOldCommands } from "./commands/command-store.ts";
import type { Config } from "./config.ts";
import { createApiDocs } from "./doors/api-docs.ts";
import { ConnectionGate } from "./doors/connection-gate.ts";
import { createDashboard } from "./doors/dashboard.ts";
import {
  type AdmitConnection,
  type BoundAddress,
  type Door,
  type ServedService,
  serve,
} from "./doors/door.ts";
import { createGrpcDoor } from "./doors/grpc-door.ts";
import { createHealthService, HealthState } from "./doors/health.ts";
import { createMetricsPage } from "./doors/metrics-page.ts";
import { createProbes } from "./doors/probes.ts";
import { createReadiness } from "./doors/readiness.ts";
import { createReflectionServices } from "./doors/reflection.ts";
import { createRestDoor, restContextValues } from "./doors/rest-door.ts";
import { createSignIn } from "./doors/sign-in.ts";
import type { TlsIdentity } from "./doors/tls.ts";
import { createWebDoor } from "./doors/web-door.ts";
import type { WebHandler } from "./doors/web-handler.ts";
import { forgetOldErrors } from "./error-reports/error-report-store.ts";
import { eventIdOf } from "./events/event-message.ts";
import { pruneEvents } from "./events/prune-events.ts";
import { findSequencerProblem } from "./events/sequencer-readiness.ts";
import { forgetOldEffects, forgetOldSessions } from "./heartbeat/heartbeat-store.ts";
import { forgetOldAnswers } from "./idempotency/answer-once.ts";
import type { Logger } from "./observability/logger.ts";
import { MetricPush } from "./observability/metric-push.ts";
import type { Tracing } from "./observability/tracing.ts";
import { createPassRpc } from "./passes/pass-rpc.ts";
import { createCallScopeInterceptor } from "./rpc/call-scope-interceptor.ts";
import { describeApi } from "./rpc/openapi.ts";
import { createTracingInterceptor } from "./rpc/tracing-interceptor.ts";
import { createMessageValidator } from "./rpc/validate-message.ts";
import type { Service } from "./runtime/service.ts";
import { settledWithin } from "./runtime/settled-within.ts";
import { createServerMetrics, watchParts } from "./server-metrics.ts";
import type { Database } from "./storage/database.ts";
import { findSchemaProblem } from "./storage/migrate.ts";
import { Pruner } from "./storage/pruner.ts";
import { forgetLeftovers, forgetOldTasks } from "./tasks/prune-tasks.ts";
import { metricPushSettingsOf } from "./telemetry-settings.ts";
import { LastUsedRecorder } from "./tokens/last-used.ts";
import { signIn } from "./tokens/sign-in.ts";
import { SignInCodes } from "./tokens/sign-in-codes.ts";
import { createTrackerRpc } from "./trackers/tracker-rpc.ts";
import { createTranscoder } from "./transcoder/transcoder.ts";
import { listening, warnOfCleartext } from "./wiring/listen.ts";
import { openTls } from "./wiring/open-tls.ts";
import { createEvents } from "./wiring/wire-events.ts";
import { createHeartbeats, createPacer } from "./wiring/wire-heartbeats.ts";
import { createHousekeeping, createSweeper } from "./wiring/wire-housekeeping.ts";
import { createCertificateCheckOn, createInterceptors } from "./wiring/wire-interceptors.ts";
import { createServices } from "./wiring/wire-services.ts";
import { createStreams } from "./wiring/wire-streams.ts";
import { createTasks } from "./wiring/wire-tasks.ts";

/** A control plane that serves while it is started. */
export interface ControlPlane extends Service {
  /** Where the doors listen; known once started. */
  readonly addresses: { http: BoundAddress; grpc: BoundAddress };
  /** A code that signs the dashboard in to a project once, in the next quarter of an hour. */
  signInCode(projectId: string): string;
}

export function createControlPlane(
  database: Database,
  config: Config,
  logger: Logger,
  tls: TlsIdentity | undefined = openTls(config, logger),
  tracing?: Tracing,
): ControlPlane {
  const { db } = database;
  const lastUsed = new LastUsedRecorder(db, (error) =>
    logger.warn({ err: error }, "uses of tokens were not noted"),
  );
  const findNotReady = createReadiness({
    database: () => findSchemaProblem(database),
    events: () => findSequencerProblem(db),
    server: async () => health.problem,
  });
  const health: HealthState = new HealthState(async () => (await findNotReady()).length === 0);
  const report = (problem: string, error: unknown) => logger.warn({ err: error }, problem);
  const validate = createMessageValidator();
  const pacer = createPacer(database, config, logger);
  const tasks = createTasks(database, config, pacer, logger, tracing);
  const streams = createStreams(database, tasks, report);
  const measured = createServerMetrics((metric, error) => report(`${metric} could not be read`, error));
  const heartbeats = createHeartbeats(
    database,
    config,
    tasks,
    pacer,
    streams,
    measured.heartbeats,
    logger,
    tracing,
  );
  const passes = createHousekeeping(database, config, tasks, report, tracing);
  const pruner = new Pruner(
    database,
    [
      forgetOldAnswers,
      forgetOldEffects,
      (leader, batchSize) => forgetOldSessions(leader, batchSize, config.retentionAuditMs),
      forgetOldCommands,
      passes.prune,
      (lockedDb, batchSize) => pruneEvents(lockedDb, batchSize, config.retentionEventsMs),
      (lockedDb, batchSize) => pruneAudit(lockedDb, batchSize, config.retentionAuditMs),
      (leader, batchSize) => forgetOldTasks(leader, config.retentionTasksMs, batchSize),
      forgetLeftovers,
      (leader, batchSize) => forgetOldErrors(leader, config.retentionErrorsMs, batchSize),
    ],
    (error) => logger.warn({ err: error }, "old records were not forgotten; it is tried again"),
    Math.min(config.retentionTasksMs, config.retentionErrorsMs),
    tracing?.background("prune"),
  );
  const events = createEvents(database, streams.open, report, tracing);
  const described = [
    ...createServices(database, config, tasks, streams, events, heartbeats, validate, logger, tracing),
    serve(PassService, createPassRpc(db, passes.passes)),
    serve(TrackerService, createTrackerRpc(db, config.trackerAllowedHosts)),
    createHealthService(health),
  ];
  const services = [...described, ...createReflectionServices(described)];
  const gate = new ConnectionGate({
    inAll: config.maxConnections,
    perAddress: config.maxConnectionsPerAddress,
    unprovenPerAddress: config.maxUnprovenConnections,
  });
  const admit: AdmitConnection = (socket, letIn) => gate.admit(socket, letIn);
  const checkCertificate = tls?.wantsClientCertificate ? createCertificateCheckOn(db) : undefined;
  const interceptors = createInterceptors(database, config, logger, validate, {
    lastUsed,
    gate,
    checkCertificate,
    calls: measured.calls,
  });
  if (tracing !== undefined) interceptors.unshift(createTracingInterceptor(tracing));
  interceptors.unshift(createCallScopeInterceptor());
  const transcoder = createTranscoder({
    services,
    interceptors,
    enumNames: "short",
    contextValues: restContextValues,
    eventId: eventIdOf,
    reportFault: (fault, rpc) => report(`${rpc} failed`, fault),
  });
  const docs = createApiDocs(describeApi(transcoder.routes));
  const codes = new SignInCodes();
  const web = createWebDoor({
    ...config.httpAddress,
    services,
    interceptors,
    handlers: [
      createRestDoor(transcoder),
      docs,
      createProbes(findNotReady),
      createMetricsPage(() => measured.metrics.page()),
      ...createPages(database, codes),
    ],
    corsOrigins: config.corsOrigins,
    admit,
    tls,
    report,
  });
  const grpc = createGrpcDoor({ ...config.grpcAddress, services, interceptors, admit, tls });
  const waiting = [tasks.waiting, passes.passes];
  const sweeper = createSweeper(database, config, tasks, measured, logger, tracing);
  const singletons = [pruner, passes.interrupted, sweeper];
  const { sequencer, feed, watches } = events;
  const readers = [streams.open, feed, streams.notifications];
  const writers = [heartbeats.writer, ...Object.values(tasks.writers), pacer, sequencer];
  const background = [gate, lastUsed, ...waiting, ...singletons, ...readers, ...writers];
  watchParts(measured, {
    database,
    gate,
    feed,
    sequencer,
    sessions: streams.registry,
    waiting: tasks.waiting,
    writer: heartbeats.writer,
  });
  const push = metricPushSettingsOf(config);
  if (push !== undefined)
    background.push(
      new MetricPush(push, measured.metrics, (error) =>
        report("metrics could not be sent to the collector", error),
      ),
    );
  if (tls === undefined) warnOfCleartext(config, logger);
  else background.push(tls);
  const sessions = streams.registry;
  const waits = [...waiting, watches];
  return assemble({ web, grpc, background, waiting: waits, sessions, health, services, codes, tracing });
}

/** What people open: the dashboard, and the way to sign in to it. */
function createPages({ db }: Database, codes: SignInCodes): WebHandler[] {
  // The same place beside the sources and beside what is compiled of them.
  const built = fileURLToPath(new URL("./dashboard/dist", import.meta.url));
  return [createSignIn((code) => signIn(db, codes, code)), createDashboard(built)];
}

function assemble(parts: {
  web: Door;
  grpc: Door;
  background: Service[];
  /** Calls that wait: they end before the doors do, which wait for calls. */
  waiting: Service[];
  sessions: Service;
  health: HealthState;
  services: ServedService[];
  codes: SignInCodes;
  tracing: Tracing | undefined;
}): ControlPlane {
  const { web, grpc, background, waiting, sessions, health, services, codes, tracing } = parts;
  return {
    get addresses() {
      return { http: web.address, grpc: grpc.address };
    },
    signInCode: (projectId) => codes.mint(projectId),
    async start() {
      for (const service of [...background, sessions]) await service.start();
      for (const name of ["", ...services.map(({ service }) => service.typeName)]) health.set(name, true);
      await listening("DROVER_HTTP_ADDR", web);
      await listening("DROVER_GRPC_ADDR", grpc);
    },
    async stop() {
      // First, so that whoever asks sends nobody here any more.
      health.stopServing();
      await settledWithin(Promise.all(waiting.map((service) => service.stop())), STOP_WITHIN_MS);
      // While the doors are still open: agents are asked to go elsewhere, and can say what they have to.
      await settledWithin(sessions.stop(), STOP_WITHIN_MS);
      await Promise.all([web.stop(), grpc.stop()]);
      const ended = Promise.all(background.map((service) => service.stop()));
      // Last, since what is written at the end makes spans too.
      await settledWithin(
        ended.then(() => tracing?.stop()),
        STOP_WITHIN_MS,
      );
    },
  };
}

/** What waits for a database that does not answer is left behind then, and ended with its connection. */
const STOP_WITHIN_MS = 5_000;
