/** The only full wiring: from a database and settings to a serving control plane. */

import { fileURLToPath } from "node:url";
import type { Interceptor } from "@connectrpc/connect";
import { AgentService } from "../gen/drover/v1/agent_service_pb.js";
import { EventService } from "../gen/drover/v1/event_service_pb.js";
import { FleetService } from "../gen/drover/v1/fleet_service_pb.js";
import { PassService } from "../gen/drover/v1/pass_service_pb.js";
import { ProjectService } from "../gen/drover/v1/project_service_pb.js";
import { TaskService } from "../gen/drover/v1/task_service_pb.js";
import { TokenService } from "../gen/drover/v1/token_service_pb.js";
import { TrackerService } from "../gen/drover/v1/tracker_service_pb.js";
import { findAgentId, readOffers } from "./agents/agent-service.ts";
import type { CordonChange } from "./agents/cordon-service.ts";
import { createEnrollRpc } from "./agents/enroll-rpc.ts";
import { createAuditRpc } from "./audit/audit-rpc.ts";
import { pruneAudit } from "./audit/prune-audit.ts";
import { CommandService } from "./commands/command-service.ts";
import { forgetOldCommands } from "./commands/command-store.ts";
import {
  brakeSettingsOf,
  type Config,
  quotaSettingsOf,
  SettingError,
  thresholdsOf,
  tlsPathsOf,
} from "./config.ts";
import { createApiDocs } from "./doors/api-docs.ts";
import { ConnectionGate } from "./doors/connection-gate.ts";
import { createDashboard } from "./doors/dashboard.ts";
import {
  type AdmitConnection,
  type BoundAddress,
  type Door,
  type Peer,
  type ReportProblem,
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
import { TlsIdentity } from "./doors/tls.ts";
import { TlsFileError } from "./doors/tls-files.ts";
import { createWebDoor } from "./doors/web-door.ts";
import type { WebHandler } from "./doors/web-handler.ts";
import { createErrorListRpc, createReportErrorRpc } from "./error-reports/error-report-rpc.ts";
import { forgetOldErrors } from "./error-reports/error-report-store.ts";
import { EventFeed } from "./events/event-feed.ts";
import { eventIdOf } from "./events/event-message.ts";
import { createEventRpc } from "./events/event-rpc.ts";
import { pruneEvents } from "./events/prune-events.ts";
import { EventSequencer } from "./events/sequencer.ts";
import { findSequencerProblem } from "./events/sequencer-readiness.ts";
import { WatchRegistry } from "./events/watch-registry.ts";
import { createBatchCordonRpc } from "./fleet/batch-cordon-rpc.ts";
import { createCordonRpc } from "./fleet/cordon-rpc.ts";
import { createExplainAgentRpc } from "./fleet/explain-agent-rpc.ts";
import { createFleetRpc } from "./fleet/fleet-rpc.ts";
import { createListSessionsRpc } from "./fleet/list-sessions-rpc.ts";
import { createSendCommandRpc } from "./fleet/send-command-rpc.ts";
import { sessionSuperseded } from "./heartbeat/enter-session.ts";
import type { HeartbeatListener } from "./heartbeat/heartbeat.ts";
import { HeartbeatPacer } from "./heartbeat/heartbeat-pacer.ts";
import { createHeartbeatRpc } from "./heartbeat/heartbeat-rpc.ts";
import { HeartbeatService } from "./heartbeat/heartbeat-service.ts";
import { findSuccessors, forgetOldEffects, forgetOldSessions } from "./heartbeat/heartbeat-store.ts";
import { type HeartbeatMeasures, HeartbeatWriter } from "./heartbeat/heartbeat-writer.ts";
import { readLongestInterval } from "./heartbeat/pace-store.ts";
import { forgetOldAnswers } from "./idempotency/answer-once.ts";
import type { AgentCaller, Caller } from "./identity/caller.ts";
import { confirmCaller } from "./identity/confirm-caller.ts";
import { findBrake } from "./liveness/apply-brakes.ts";
import { brakeReasons } from "./liveness/brake-reasons.ts";
import { createLeaveRpc } from "./liveness/leave-rpc.ts";
import { LivenessSweeper } from "./liveness/liveness-sweeper.ts";
import { offlineAfterMs } from "./liveness/thresholds.ts";
import type { Logger } from "./observability/logger.ts";
import { MetricPush } from "./observability/metric-push.ts";
import type { Tracing } from "./observability/tracing.ts";
import { createPassRpc } from "./passes/pass-rpc.ts";
import { createPasses, type Passes } from "./passes/passes.ts";
import { createProjectRpc } from "./projects/project-rpc.ts";
import { findProjectByName } from "./projects/project-store.ts";
import { Quotas } from "./quotas/quotas.ts";
import { createAccessInterceptor } from "./rpc/access-interceptor.ts";
import type { CallMetrics } from "./rpc/call-metrics.ts";
import { CallRates } from "./rpc/call-rates.ts";
import { createCallScopeInterceptor } from "./rpc/call-scope-interceptor.ts";
import { type CheckCertificate, createCertificateCheck } from "./rpc/check-certificate.ts";
import { createErrorInterceptor, explainError } from "./rpc/error-interceptor.ts";
import { GuessLimiter } from "./rpc/guess-limiter.ts";
import { describeApi } from "./rpc/openapi.ts";
import { createTracingInterceptor } from "./rpc/tracing-interceptor.ts";
import { createMessageValidator, type ValidateMessage } from "./rpc/validate-message.ts";
import { createValidationInterceptor } from "./rpc/validation-interceptor.ts";
import { assertNever } from "./runtime/assert-never.ts";
import { formatId } from "./runtime/resource-id.ts";
import type { Service } from "./runtime/service.ts";
import { settledWithin } from "./runtime/settled-within.ts";
import { createServerMetrics, type ServerMetrics, watchParts } from "./server-metrics.ts";
import { Assigner } from "./sessions/assigner.ts";
import { type CommandSource, createCommandSource } from "./sessions/command-source.ts";
import { MessageTrace } from "./sessions/message-trace.ts";
import { hintOfTasks, readHint, type ServerHint, writeHint } from "./sessions/server-hints.ts";
import { SessionRegistry } from "./sessions/session-registry.ts";
import { createSessionRpc } from "./sessions/session-rpc.ts";
import { SlotCount } from "./sessions/slot-count.ts";
import { StreamRecord } from "./sessions/stream-record.ts";
import { createTaskSource, type TaskSource } from "./sessions/task-source.ts";
import { createWatchCommandsRpc } from "./sessions/watch-commands-rpc.ts";
import type { Database } from "./storage/database.ts";
import { findSchemaProblem } from "./storage/migrate.ts";
import { Notifications } from "./storage/notifications.ts";
import { Pruner } from "./storage/pruner.ts";
import { createBatchRpc } from "./tasks/batch-rpc.ts";
import { ClaimService } from "./tasks/claim-service.ts";
import { ClaimWriter } from "./tasks/claim-writer.ts";
import { CompletionWriter } from "./tasks/completion-writer.ts";
import type { ReportUnhandled } from "./tasks/end-attempts.ts";
import type { AskedKinds } from "./tasks/explain-service.ts";
import { HeldTasks } from "./tasks/held-tasks.ts";
import { createLoanRpc } from "./tasks/loan-rpc.ts";
import { LoanService } from "./tasks/loan-service.ts";
import { forgetLeftovers, forgetOldTasks } from "./tasks/prune-tasks.ts";
import { RenewalWriter } from "./tasks/renewal-writer.ts";
import { findDue } from "./tasks/requirement-store.ts";
import type { TaskChange } from "./tasks/task-change.ts";
import { createTaskRpc } from "./tasks/task-rpc.ts";
import type { TaskRules } from "./tasks/task-rules.ts";
import { type ClaimSources, WaitingClaims } from "./tasks/waiting-claims.ts";
import { metricPushSettingsOf } from "./telemetry-settings.ts";
import { authenticate } from "./tokens/authenticate.ts";
import { LastUsedRecorder } from "./tokens/last-used.ts";
import { OpenStreams } from "./tokens/open-streams.ts";
import { signIn } from "./tokens/sign-in.ts";
import { SignInCodes } from "./tokens/sign-in-codes.ts";
import { createTokenFinder } from "./tokens/token-finder.ts";
import { createRotateTokenRpc, createTokenRpc } from "./tokens/token-rpc.ts";
import { renewalDueMs } from "./tokens/token-service.ts";
import { createTrackerRpc } from "./trackers/tracker-rpc.ts";
import { createTranscoder } from "./transcoder/transcoder.ts";

/** A control plane that serves while it is started. */
export interface ControlPlane extends Service {
  /** Where the doors listen; known once started. */
  readonly addresses: { http: BoundAddress; grpc: BoundAddress };
  /** A code that signs the dashboard in to a project once, in the next quarter of an hour. */
  signInCode(projectId: string): string;
}

/**
 * The TLS identity that the settings name; undefined for cleartext. A SettingError tells which file is no good, and why.
 */
export function openTls(config: Config, logger: Logger): TlsIdentity | undefined {
  const paths = tlsPathsOf(config);
  if (paths === undefined) return undefined;
  try {
    const identity = new TlsIdentity(paths, {
      renewed: (notAfter) => logger.info({ notAfter }, "the TLS certificate was renewed"),
      refused: (error) =>
        logger.error({ err: error }, "new TLS files are no good: the certificate before them stays in use"),
    });
    const { notAfter } = identity;
    // It is no reason to stop: a renewal may be on its way, and a server that runs takes it.
    if (notAfter.getTime() <= Date.now())
      logger.error(
        { notAfter },
        "the TLS certificate has expired: clients refuse it until there is a new one",
      );
    return identity;
  } catch (error) {
    if (error instanceof TlsFileError) throw new SettingError([error.message], error);
    throw error;
  }
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

/** Whoever listens in on the way reads every token: that is said where a port can be reached from elsewhere. */
function warnOfCleartext({ httpAddress, grpcAddress }: Config, logger: Logger): void {
  for (const [setting, { host }] of [
    ["DROVER_HTTP_ADDR", httpAddress],
    ["DROVER_GRPC_ADDR", grpcAddress],
  ] as const) {
    if (isLoopback(host)) continue;
    logger.warn(
      { setting, host },
      `${setting} can be reached from other machines without TLS: whoever listens on the way can read every token. ` +
        "Set DROVER_TLS_CERT and DROVER_TLS_KEY, or let nothing but a proxy that speaks TLS reach it.",
    );
  }
}

const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "::1" || /^127\.\d+\.\d+\.\d+$/.test(host);

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
  claims: ClaimService;
  loans: LoanService;
  writers: { claims: ClaimWriter; renewals: RenewalWriter; completions: CompletionWriter };
  unhandled: ReportUnhandled;
  /** For tasks, and for errors beside them. */
  quotas: Quotas;
}

function createTasks(
  { db }: Database,
  config: Config,
  pacer: HeartbeatPacer,
  logger: Logger,
  tracing: Tracing | undefined,
): Tasks {
  const { retryBackoffMs: firstMs, retryBackoffMaxMs: longestMs } = config;
  const rules: TaskRules = {
    // Grows with the interval that agents are told.
    get leaseMs() {
      return pacer.leaseMs;
    },
    backoff: { firstMs, longestMs },
  };
  const unhandled: ReportUnhandled = ({ taskId }, error) =>
    logger.error(
      { err: error, task: formatId("task", taskId) },
      "a task could not be handled when its loan ended",
    );
  const sources = claimSources(db);
  const waiting = new WaitingClaims(sources, (error) =>
    logger.warn({ err: error }, "the database was not asked for tasks that are due; it is tried again"),
  );
  const held = new HeldTasks(db, rules, waiting, unhandled);
  const announce = (changes: readonly TaskChange[]) => waiting.announce(changes);
  const writers = {
    claims: new ClaimWriter(db, rules, announce, tracing),
    renewals: new RenewalWriter(db, rules, announce, tracing),
    completions: new CompletionWriter(db, announce, tracing),
  };
  const onCordoned = (changes: readonly CordonChange[]) => logCordons(logger, changes);
  const claims = new ClaimService(db, rules, waiting, writers.claims);
  const loans = new LoanService(db, rules, waiting, writers, onCordoned);
  const quotas = new Quotas(db, quotaSettingsOf(config), (error) =>
    logger.warn({ err: error }, "errors were not counted for their quotas; it is tried again"),
  );
  return { rules, waiting, held, claims, loans, writers, unhandled, quotas };
}

function createHousekeeping(
  database: Database,
  config: Config,
  { rules, unhandled, waiting }: Tasks,
  report: ReportProblem,
  tracing: Tracing | undefined,
): Passes {
  return createPasses(database, {
    tasks: {
      rules,
      giveBack: { backoff: rules.backoff, report: unhandled },
      announce: (changes) => waiting.announce(changes),
    },
    stepModules: config.passSteps,
    syncTimeoutMs: config.passSyncTimeoutMs,
    trackerTimeoutMs: config.trackerTimeoutMs,
    allowedHosts: config.trackerAllowedHosts,
    retentionMs: config.retentionRunsMs,
    report,
    tracing,
  });
}

function claimSources(db: Database["db"]): ClaimSources {
  return {
    findDue: (awaited) => findDue(db, awaited),
    readOffers: (agents) => readOffers(db, agents),
  };
}

function createSweeper(
  database: Database,
  config: Config,
  tasks: Tasks,
  measured: ServerMetrics,
  logger: Logger,
  tracing: Tracing | undefined,
): LivenessSweeper {
  const { rules, waiting, unhandled } = tasks;
  return new LivenessSweeper(database, {
    thresholds: thresholdsOf(config),
    readLongestInterval,
    brake: brakeSettingsOf(config),
    around: tracing?.background("sweep"),
    giveBack: { backoff: rules.backoff, report: unhandled },
    listener: {
      swept: (seconds) => measured.swept(seconds),
      lost({ project, agent, from, to, reason }) {
        measured.lost();
        logger.info({ project, agent, from, to, reason }, "agent liveness changed");
      },
      tasksChanged: (changes) => waiting.announce(changes),
      cordoned: (changes) => logCordons(logger, changes),
      braked(change) {
        logger.warn({ ...change }, brakeWords[change.to]);
      },
      failed: (error) => logger.warn({ err: error }, "silent agents were not looked for; it is tried again"),
    },
  });
}

const brakeWords = {
  off: "mass loss is over: tasks of lost agents go back at once",
  slow: "mass loss: tasks of lost agents go back slowly",
  stopped: "mass loss: all agents are gone, and their tasks stay with them",
} as const;

/** What looks after streams for as long as they are open. */
interface Streams {
  open: OpenStreams;
  tasks: TaskSource;
  assigner: Assigner;
  commands: CommandSource;
  registry: SessionRegistry;
  slots: SlotCount;
  /** To and from the other servers of the database. */
  notifications: Notifications;
  report: ReportProblem;
}

function createStreams(database: Database, tasks: Tasks, report: ReportProblem): Streams {
  const { db } = database;
  const open = new OpenStreams(db, (error) =>
    report("the tokens of open streams were not looked at; it is tried again", error),
  );
  const source = createTaskSource(tasks.claims, tasks.loans, claimSources(db));
  const assigner = new Assigner(source, (error) => report("a claim for a stream failed", error));
  const commands = createCommandSource(new CommandService(db));
  const slots = new SlotCount((agentId) => registry.roomOf(agentId));
  const registry: SessionRegistry = new SessionRegistry({
    assigner,
    commands,
    findSuccessors: (sessions) => findSuccessors(db, sessions),
    record: new StreamRecord(db),
    superseded: sessionSuperseded,
    elsewhere: (hint) => notifications.say(writeHint(hint)),
    onError: report,
  });
  const notifications = new Notifications(database, {
    heard: (text) => takeHint(readHint(text), registry, tasks.waiting),
    onError: (error) =>
      report("other servers are not heard, or do not hear this one; it is tried again", error),
  });
  tasks.waiting.listen({
    due: ({ projectId, kind, requirements }) => assigner.wake(projectId, kind, requirements),
    unwanted: (due) => notifications.say(writeHint(hintOfTasks(due))),
    // The agent that held it has a command to stop the work.
    changed({ type, agentId }) {
      if (type === "task.cancelled" && agentId !== undefined) registry.commandWaits(agentId);
    },
  });
  return { open, tasks: source, assigner, commands, registry, slots, notifications, report };
}

/** What another server could do nothing with; the same would be found here a second later. */
function takeHint(hint: ServerHint | undefined, registry: SessionRegistry, waiting: WaitingClaims): void {
  switch (hint?.about) {
    case undefined:
      return;
    case "command":
      registry.commandWaitsHere(hint.agentId);
      return;
    case "recovery":
      registry.recoveredHere(hint.agentId);
      return;
    case "tasks":
      waiting.dueElsewhere({ ...hint, kind: hint.kind });
      return;
    default:
      assertNever(hint);
  }
}

/** The stream of events: who numbers them, who reads them, who follows them. */
interface Events {
  sequencer: EventSequencer;
  feed: EventFeed;
  watches: WatchRegistry;
  rpc: ReturnType<typeof createEventRpc>;
}

function createEvents(
  database: Database,
  open: OpenStreams,
  report: ReportProblem,
  tracing: Tracing | undefined,
): Events {
  const { db } = database;
  const feed = new EventFeed(db, (error) => report("events were not read; it is tried again", error));
  const sequencer = new EventSequencer(
    database,
    {
      numbered: () => feed.hurry(),
      failed: (error) => report("events were not numbered; it is tried again", error),
    },
    tracing?.background("number events"),
  );
  const watches = new WatchRegistry((stream) => open.add(stream));
  const onError = (error: unknown) => report("a watch of events failed", error);
  return { sequencer, feed, watches, rpc: createEventRpc({ db, feed, onError }, watches) };
}

function createServices(
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

/** After the commit: the log hears of it, and the agents that stay connected here. */
function tellOfCordons(logger: Logger, sessions: SessionRegistry, changes: readonly CordonChange[]): void {
  logCordons(logger, changes);
  for (const { agentId, to } of changes) {
    sessions.commandWaits(agentId);
    if (to === "none") sessions.recovered(agentId);
  }
}

function logCordons(logger: Logger, changes: readonly CordonChange[]): void {
  for (const { agentId, agent, from, to } of changes)
    logger.info({ agentId: formatId("agent", agentId), agent, from, to }, "agent cordon changed");
}

function createInterceptors(
  database: Database,
  config: Config,
  logger: Logger,
  validate: ValidateMessage,
  guards: {
    lastUsed: LastUsedRecorder;
    gate: ConnectionGate;
    checkCertificate: CheckCertificate | undefined;
    calls: CallMetrics;
  },
): Interceptor[] {
  const { db } = database;
  const { lastUsed, gate, checkCertificate, calls } = guards;
  const tokens = { db, find: createTokenFinder(db) };
  const access = {
    authenticate: (authorization: string | null, mayRenew: boolean) =>
      authenticate(tokens, authorization, mayRenew),
    findProject: (name: string) => findProjectByName(db, name),
    confirm: (caller: Caller) => confirmCaller(db, caller),
    proved: ({ address, port }: Peer) => gate.prove(address, port),
    checkCertificate,
    used: (tokenId: string) => lastUsed.used(tokenId),
  };
  const rates = new CallRates({
    perToken: config.maxCallsPerToken,
    perAddress: config.maxCallsPerAddress,
    inAll: config.maxCalls,
  });
  return [
    createErrorInterceptor((method, error) => logger.error({ err: error, method }, "a call failed"), calls),
    createAccessInterceptor(access, new GuessLimiter(), rates),
    createValidationInterceptor(validate),
  ];
}

function createPacer({ db }: Database, config: Config, logger: Logger): HeartbeatPacer {
  const thresholds = thresholdsOf(config);
  return new HeartbeatPacer(
    db,
    {
      baseMs: config.heartbeatIntervalMs,
      mostPerSecond: config.maxHeartbeatsPerSecond,
      patienceMs: (intervalMs) => offlineAfterMs({ ...thresholds, intervalMs }),
      leaseMs: config.leaseMs,
    },
    (error) => logger.warn({ err: error }, "the fleet was not counted; it is tried again"),
  );
}

/** The one way by which heartbeats of all doors and streams are taken. */
interface Heartbeats {
  service: HeartbeatService;
  writer: HeartbeatWriter;
  pacer: HeartbeatPacer;
  listener: HeartbeatListener;
}

function createHeartbeats(
  database: Database,
  config: Config,
  { held, quotas }: Tasks,
  pacer: HeartbeatPacer,
  { registry }: Streams,
  measures: HeartbeatMeasures,
  logger: Logger,
  tracing: Tracing | undefined,
): Heartbeats {
  const listener = createHeartbeatListener(logger, registry);
  const parts = { tasks: held, agentTokenTtlMs: config.agentTokenTtlMs, quotas };
  const writer = new HeartbeatWriter(database, parts, listener, measures, tracing);
  return { service: new HeartbeatService(database.db, writer, listener), writer, pacer, listener };
}

function createCertificateCheckOn(db: Database["db"]): CheckCertificate {
  return createCertificateCheck(
    async (projectId, name) => (await findAgentId(db, projectId, name)) !== undefined,
  );
}

function createHeartbeatListener(logger: Logger, sessions: SessionRegistry): HeartbeatListener {
  return {
    transition({ agentId, project, agent, from, to, reason }) {
      if (from === "error") sessions.recovered(agentId);
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
    sessionBegan({ agentId }, epoch) {
      sessions.sessionBegan(agentId, epoch);
    },
  };
}
