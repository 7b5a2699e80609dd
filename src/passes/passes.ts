import type { Tracing } from "../observability/tracing.ts";
import type { Service } from "../runtime/service.ts";
import type { Database } from "../storage/database.ts";
import type { PruneStep } from "../storage/pruner.ts";
import { SessionLocks } from "../storage/session-locks.ts";
import type { AllowedHost } from "../trackers/address-guard.ts";
import { openTracker } from "../trackers/open-tracker.ts";
import { createInterruptedRuns } from "./interrupted-runs.ts";
import { loadSteps } from "./load-steps.ts";
import { PassService } from "./pass-service.ts";
import { createReconcileStep, type PassTasks } from "./reconcile-step.ts";
import { forgetOldRuns } from "./run-store.ts";
import { createSyncStep } from "./sync-step.ts";

export interface PassesSettings {
  tasks: PassTasks;
  /** Modules with steps of the operator. */
  stepModules: readonly string[];
  syncTimeoutMs: number;
  trackerTimeoutMs: number;
  allowedHosts: readonly AllowedHost[];
  retentionMs: number;
  report(problem: string, error: unknown): void;
  tracing?: Tracing | undefined;
}

/** What there is of heartbeat passes in a server. */
export interface Passes {
  passes: PassService;
  /** Ends the runs of servers that died. */
  interrupted: Service;
  prune: PruneStep;
}

export function createPasses(database: Database, settings: PassesSettings): Passes {
  const { db } = database;
  const {
    tasks,
    stepModules,
    syncTimeoutMs,
    trackerTimeoutMs: timeoutMs,
    allowedHosts: allowed,
    report,
    tracing,
  } = settings;
  const locks = new SessionLocks(database);
  const sync = createSyncStep(
    { db, locks, open: (tracker) => openTracker(tracker, { allowed, timeoutMs }) },
    { timeoutMs: syncTimeoutMs, failed: (error) => report("the sync of a tracker failed", error) },
  );
  const passes = new PassService({
    db,
    locks,
    tasks,
    report,
    tracing,
    async steps() {
      const own = [sync, createReconcileStep(db, tasks)];
      const more = await loadSteps(
        stepModules,
        own.map(({ name }) => name),
      );
      return [...own, ...more];
    },
  });
  return {
    passes,
    interrupted: createInterruptedRuns(
      db,
      (error) => report("interrupted passes were not looked for", error),
      tracing?.background("interrupted passes"),
    ),
    prune: (leader, batchSize) => forgetOldRuns(leader, settings.retentionMs, batchSize),
  };
}
