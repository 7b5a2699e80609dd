import { type Config, thresholdsOf } from "../config.ts";
import type { HeartbeatListener } from "../heartbeat/heartbeat.ts";
import { HeartbeatPacer } from "../heartbeat/heartbeat-pacer.ts";
import { HeartbeatService } from "../heartbeat/heartbeat-service.ts";
import { type HeartbeatMeasures, HeartbeatWriter } from "../heartbeat/heartbeat-writer.ts";
import { offlineAfterMs } from "../liveness/thresholds.ts";
import type { Logger } from "../observability/logger.ts";
import type { Tracing } from "../observability/tracing.ts";
import type { SessionRegistry } from "../sessions/session-registry.ts";
import type { Database } from "../storage/database.ts";
import type { Streams } from "./wire-streams.ts";
import type { Tasks } from "./wire-tasks.ts";

/** What tells agents how often to beat. */
export function createPacer({ db }: Database, config: Config, logger: Logger): HeartbeatPacer {
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
export interface Heartbeats {
  service: HeartbeatService;
  writer: HeartbeatWriter;
  pacer: HeartbeatPacer;
  listener: HeartbeatListener;
}

/** The writer and the service of heartbeats. */
export function createHeartbeats(
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
