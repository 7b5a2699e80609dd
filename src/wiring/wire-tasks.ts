import { readOffers } from "../agents/agent-service.ts";
import type { CordonChange } from "../agents/cordon-service.ts";
import { type Config, quotaSettingsOf } from "../config.ts";
import type { HeartbeatPacer } from "../heartbeat/heartbeat-pacer.ts";
import type { Logger } from "../observability/logger.ts";
import type { Tracing } from "../observability/tracing.ts";
import { Quotas } from "../quotas/quotas.ts";
import { formatId } from "../runtime/resource-id.ts";
import type { Database } from "../storage/database.ts";
import { ClaimService } from "../tasks/claim-service.ts";
import { ClaimWriter } from "../tasks/claim-writer.ts";
import { CompletionWriter } from "../tasks/completion-writer.ts";
import type { ReportUnhandled } from "../tasks/end-attempts.ts";
import { HeldTasks } from "../tasks/held-tasks.ts";
import { LoanService } from "../tasks/loan-service.ts";
import { RenewalWriter } from "../tasks/renewal-writer.ts";
import { findDue } from "../tasks/requirement-store.ts";
import type { TaskChange } from "../tasks/task-change.ts";
import type { TaskRules } from "../tasks/task-rules.ts";
import { type ClaimSources, WaitingClaims } from "../tasks/waiting-claims.ts";
import { logCordons } from "./tell-of-cordons.ts";

/** What the services share of tasks. */
export interface Tasks {
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

/** What lends tasks, ends them and counts what is stored of them. */
export function createTasks(
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

/** What those who wait for tasks ask the database. */
export function claimSources(db: Database["db"]): ClaimSources {
  return {
    findDue: (awaited) => findDue(db, awaited),
    readOffers: (agents) => readOffers(db, agents),
  };
}
