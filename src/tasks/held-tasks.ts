import { LRUCache } from "lru-cache";
import { readOffersOfTakers } from "../agents/agent-service.ts";
import { type Batched, CoalescingBatcher, type Settle } from "../runtime/coalescing-batcher.ts";
import { parseId } from "../runtime/resource-id.ts";
import type { Db, Tx } from "../storage/database.ts";
import { countFailures, endAttempts, type ReportUnhandled } from "./end-attempts.ts";
import { type GiveBackReason, giveBackTasks } from "./give-back.ts";
import { type Holder, holdsTask, lockLoansOf, readLoans, renewLoans } from "./loan-store.ts";
import { meets, type Offer, type Requirements } from "./match-task.ts";
import { findUrgent } from "./requirement-store.ts";
import { recordAllChanges, startOf, type TaskChange } from "./task-change.ts";
import {
  answerReport,
  loanKey,
  loansNamedIn,
  type TaskReport,
  type TaskReportAnswer,
} from "./task-report.ts";
import type { TaskRules } from "./task-rules.ts";
import type { WaitingClaims } from "./waiting-claims.ts";

export type { LeaseAnswer, TaskClaim, TaskReport, TaskReportAnswer } from "./task-report.ts";

/** An agent, and what its heartbeat says of its tasks. */
export interface AgentReport {
  agent: Holder & { actor: string };
  report: TaskReport;
}

/** An agent whose tasks fail, and why. */
export interface FailingAgent extends Holder {
  /** How the audit log names the agent. */
  actor: string;
  /** In words; kept with each attempt. */
  reason: string;
}

/** What became of an agent's active tasks. */
export interface TaskFailures {
  /** Tasks that the agent held. */
  attempted: number;
  /** Those that wait for another try. */
  requeued: number;
  /** Those that failed for good. */
  failed: number;
}

const URGENCY_KNOWN_FOR_MS = 1_000;
const PROJECTS_REMEMBERED = 10_000;

/** The requirements of a project's urgent tasks: being asked for, and then found. */
interface UrgentTasks {
  readonly asked: Promise<Requirements[]>;
  found: Requirements[] | undefined;
}

/** What heartbeats do to their agent's tasks, inside the heartbeat's own transaction and under the agent's lock. */
export class HeldTasks {
  readonly #db: Db;
  readonly #rules: TaskRules;
  readonly #waiting: WaitingClaims;
  readonly #report: ReportUnhandled;
  readonly #urgent = new LRUCache<string, UrgentTasks>({
    max: PROJECTS_REMEMBERED,
    ttl: URGENCY_KNOWN_FOR_MS,
  });

  readonly #offers: CoalescingBatcher<Holder, Offer | undefined>;

  constructor(db: Db, rules: TaskRules, waiting: WaitingClaims, report: ReportUnhandled) {
    this.#offers = new CoalescingBatcher({
      keyOf: ({ agentId }) => agentId,
      folds: () => true,
      flush: (batch, settle) => this.#readOffers(batch, settle),
      gatherMs: 2,
      maxBatch: 500,
      maxInFlight: 1,
      capacity: Number.POSITIVE_INFINITY,
      overloaded: () => new Error("a queue without a bound is full"),
      stopped: () => new Error("it does not stop"),
    });
    this.#db = db;
    this.#rules = rules;
    this.#waiting = waiting;
    this.#report = report;
  }

  /** For how long a renewal lasts. */
  get leaseMs(): number {
    return this.#rules.leaseMs;
  }

  /** Renews what agents hold; the task at hand of each is accepted, which begins its run. Answers in the order of reports. */
  async report(tx: Tx, reports: readonly AgentReport[]): Promise<TaskReportAnswer[]> {
    const { leaseMs } = this.#rules;
    const renewals = reports.flatMap(({ agent, report }) =>
      loansNamedIn(report).map((loan) => ({
        ...loan,
        projectId: agent.projectId,
        agentId: agent.agentId,
        leaseMs,
      })),
    );
    const renewed = groupByAgent(await renewLoans(tx, renewals));
    const answers = reports.map(({ agent, report }) => {
      const loans = renewed.get(agent.agentId) ?? [];
      const changes = loans.filter(({ began }) => began).map((loan) => startOf(loan, loan.kind));
      return answerReport(report, new Map(loans.map((loan) => [loanKey(loan), leaseMs])), changes);
    });
    await recordAllChanges(
      tx,
      reports.map(({ agent: { actor } }, place) => ({
        changes: answers[place]?.changes ?? [],
        origin: { actor },
      })),
    );
    return answers;
  }

  /** What became of the loans that heartbeats name, without an effect: for those that were taken before, or came too late. */
  async look(tx: Tx, reports: readonly AgentReport[]): Promise<TaskReportAnswer[]> {
    const loans = groupByAgent(
      await readLoans(
        tx,
        reports.flatMap(({ agent: { projectId, agentId }, report }) =>
          loansNamedIn(report).map(({ taskId, leaseEpoch }) => ({ projectId, agentId, taskId, leaseEpoch })),
        ),
      ),
    );
    return reports.map(({ agent, report }) => {
      const held = loans.get(agent.agentId) ?? [];
      return answerReport(report, new Map(held.map((loan) => [loanKey(loan), loan.remainingMs])), []);
    });
  }

  /** The UUID of a task that the agent holds, under whatever epoch; undefined where it does not. */
  async findHeld(tx: Tx, agent: Holder, taskId: string): Promise<string | undefined> {
    const uuid = parseId("task", taskId);
    return uuid !== undefined && (await holdsTask(tx, agent, uuid)) ? uuid : undefined;
  }

  /** Fails every active task of the agent; the changes are to be announced after the commit. */
  async failAll(tx: Tx, agent: FailingAgent): Promise<{ failures: TaskFailures; changes: TaskChange[] }> {
    const loans = await lockLoansOf(tx, [agent], false);
    const cause = {
      ending: { kind: "agent-failed" },
      error: { message: agent.reason, context: undefined },
      origin: { actor: agent.actor },
    } as const;
    const changes = await endAttempts(tx, loans, cause, this.#rules.backoff, this.#report);
    return { failures: countFailures(changes), changes };
  }

  /** Takes back what agents hold, whose rows are locked; the changes are to be announced after the commit. */
  async giveBack(tx: Tx, holders: Holder[], reason: GiveBackReason): Promise<TaskChange[]> {
    return await giveBackTasks(tx, holders, reason, { backoff: this.#rules.backoff, report: this.#report });
  }

  /** Tells those who wait for tasks of committed changes. */
  announce(changes: TaskChange[]): void {
    this.#waiting.announce(changes);
  }

  /**
   * Whether a task of priority 8 or 9 waits whose requirements the agent meets; at most a second old. What the agent has
   * to offer is asked for only where such tasks require something.
   */
  hasHighPriority(agent: Holder): boolean | Promise<boolean> {
    const known = this.#urgent.get(agent.projectId);
    // Known, and nothing there: so it is for nearly every heartbeat, and it costs no wait.
    if (known?.found !== undefined) return known.found.length > 0 && this.#suits(known.found, agent);
    return this.#urgentOf(agent.projectId).then((found) => this.#suits(found, agent));
  }

  #suits(urgent: readonly Requirements[], agent: Holder): boolean | Promise<boolean> {
    if (urgent.length === 0) return false;
    return this.#offers
      .submit(agent)
      .then((offer) => offer !== undefined && urgent.some((requirements) => meets(requirements, offer)));
  }

  async #urgentOf(projectId: string): Promise<Requirements[]> {
    const known = this.#urgent.get(projectId);
    if (known !== undefined) return await known.asked;
    const answer: UrgentTasks = { asked: findUrgent(this.#db, projectId), found: undefined };
    this.#urgent.set(projectId, answer);
    try {
      answer.found = await answer.asked;
      return answer.found;
    } catch (error) {
      // A failure is not remembered.
      this.#urgent.delete(projectId);
      throw error;
    }
  }

  /** What agents offer, asked for many of them at once. */
  async #readOffers(batch: readonly Batched<Holder>[], settle: Settle<Offer | undefined>): Promise<void> {
    const offers = await readOffersOfTakers(
      this.#db,
      batch.map(({ item: { projectId, agentId } }) => ({ projectId, agentId })),
    );
    for (const [place, { item }] of batch.entries())
      settle(place, { kind: "done", result: offers.get(item.agentId) });
  }
}

function groupByAgent<T extends Holder>(loans: readonly T[]): Map<string, T[]> {
  return Map.groupBy(loans, ({ agentId }) => agentId);
}
