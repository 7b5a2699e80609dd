import { brakeSettingsOf, type Config, thresholdsOf } from "../config.ts";
import type { ReportProblem } from "../doors/door.ts";
import { readLongestInterval } from "../heartbeat/pace-store.ts";
import { LivenessSweeper } from "../liveness/liveness-sweeper.ts";
import type { Logger } from "../observability/logger.ts";
import type { Tracing } from "../observability/tracing.ts";
import { createPasses, type Passes } from "../passes/passes.ts";
import type { ServerMetrics } from "../server-metrics.ts";
import type { Database } from "../storage/database.ts";
import { logCordons } from "./tell-of-cordons.ts";
import type { Tasks } from "./wire-tasks.ts";

/** Heartbeat passes, with the steps that the settings name. */
export function createHousekeeping(
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

/** What looks for silent agents, and tells the log and the metrics of what it found. */
export function createSweeper(
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
