import { LRUCache } from "lru-cache";
import { parseId } from "../runtime/resource-id.ts";
import type { Db, Tx } from "../storage/database.ts";
import { isUrgentDue } from "./claim-store.ts";
import { type AgentCommand, acknowledgeCommands, listWaitingCommands } from "./command-store.ts";
import { countFailures, endAttempts, type ReportUnhandled } from "./end-attempts.ts";
import { type GiveBackReason, giveBackTasks } from "./give-back.ts";
import { startOf, type TaskRules } from "./loan-service.ts";
import {
  type Holder,
  holdsTask,
  lockLoansOf,
  type Progress,
  type Renewal,
  readLoans,
  renewLoans,
} from "./loan-store.ts";
import { recordChanges, type TaskChange } from "./task-change.ts";
import type { WaitingClaims } from "./waiting-claims.ts";

/** A loan as an agent names it: the text of the task's id, and the epoch. */
export interface TaskClaim {
  taskId: string;
  leaseEpoch: bigint;
}

/** What a heartbeat says of its agent's tasks. */
export interface TaskReport {
  /** The task at hand. */
  currentTask: (TaskClaim & Progress) | undefined;
  /** What it holds besides. */
  heldLeases: TaskClaim[];
}

/** A loan that a heartbeat named: renewed, or over where `remainingMs` is undefined. */
export interface LeaseAnswer extends TaskClaim {
  remainingMs: number | undefined;
}

export interface TaskReportAnswer {
  /** UUID and epoch of the task at hand, where it is this agent's. */
  currentTask: { taskId: string; leaseEpoch: bigint } | undefined;
  leases: LeaseAnswer[];
  /** To be announced after the commit. */
  changes: TaskChange[];
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

const MOST_COMMANDS = 100;
const URGENCY_KNOWN_FOR_MS = 1_000;
const PROJECTS_REMEMBERED = 10_000;

/** What heartbeats do to their agent's tasks, inside the heartbeat's own transaction and under the agent's lock. */
export class HeldTasks {
  readonly #db: Db;
  readonly #rules: TaskRules;
  readonly #waiting: WaitingClaims;
  readonly #report: ReportUnhandled;
  readonly #urgent = new LRUCache<string, Promise<boolean>>({
    max: PROJECTS_REMEMBERED,
    ttl: URGENCY_KNOWN_FOR_MS,
  });

  constructor(db: Db, rules: TaskRules, waiting: WaitingClaims, report: ReportUnhandled) {
    this.#db = db;
    this.#rules = rules;
    this.#waiting = waiting;
    this.#report = report;
  }

  /** Renews what the agent holds; the task at hand is accepted, which begins its run. */
  async report(tx: Tx, agent: Holder & { actor: string }, report: TaskReport): Promise<TaskReportAnswer> {
    const renewals = renewalsOf(report);
    if (renewals.length === 0) return answer(report, new Map(), []);
    const { projectId, agentId, actor } = agent;
    const { leaseMs } = this.#rules;
    const renewed = await renewLoans(tx, projectId, agentId, renewals, leaseMs);
    const changes = renewed
      .filter(({ began }) => began)
      .map(({ taskId, leaseEpoch, kind }) => startOf({ projectId, agentId, taskId, leaseEpoch }, kind));
    await recordChanges(tx, changes, { actor });
    return answer(report, new Map(renewed.map((loan) => [keyOf(loan), leaseMs])), changes);
  }

  /** What became of the loans that a heartbeat names, without an effect: for one that was taken before, or came too late. */
  async look(tx: Tx, agent: Holder, report: TaskReport): Promise<TaskReportAnswer> {
    const renewals = renewalsOf(report);
    if (renewals.length === 0) return answer(report, new Map(), []);
    const loans = await readLoans(tx, agent.projectId, agent.agentId, renewals);
    return answer(report, new Map(loans.map((loan) => [keyOf(loan), loan.remainingMs])), []);
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

  /** Notes what the agent has taken; resolves to the commands that still wait, the oldest first. */
  async exchangeCommands(tx: Tx, agent: Holder, acknowledged: bigint[]): Promise<AgentCommand[]> {
    const { projectId, agentId } = agent;
    if (acknowledged.length > 0) await acknowledgeCommands(tx, projectId, agentId, acknowledged);
    return await listWaitingCommands(tx, projectId, agentId, MOST_COMMANDS);
  }

  /** Tells those who wait for tasks of committed changes. */
  announce(changes: TaskChange[]): void {
    this.#waiting.announce(changes);
  }

  /** Whether a task of priority 8 or 9 waits that an agent of the project could take; at most a second old. */
  async hasHighPriority(projectId: string): Promise<boolean> {
    const known = this.#urgent.get(projectId);
    if (known !== undefined) return await known;
    const asked = isUrgentDue(this.#db, projectId);
    this.#urgent.set(projectId, asked);
    // A failure is not remembered.
    asked.catch(() => this.#urgent.delete(projectId));
    return await asked;
  }
}

/** Each loan once, the task at hand first; what is no id of a task names no loan. */
function renewalsOf({ currentTask, heldLeases }: TaskReport): Renewal[] {
  const renewals = new Map<string, Renewal>();
  const add = (claim: TaskClaim, more: Omit<Renewal, "taskId" | "leaseEpoch">) => {
    const taskId = parseId("task", claim.taskId);
    if (taskId === undefined) return;
    const renewal = { taskId, leaseEpoch: claim.leaseEpoch, ...more };
    if (!renewals.has(keyOf(renewal))) renewals.set(keyOf(renewal), renewal);
  };
  if (currentTask !== undefined) {
    const { progress, detail } = currentTask;
    add(currentTask, { accept: true, progress, detail });
  }
  for (const claim of heldLeases) add(claim, { accept: false, progress: undefined, detail: undefined });
  return [...renewals.values()];
}

function keyOf({ taskId, leaseEpoch }: { taskId: string; leaseEpoch: bigint }): string {
  return `${taskId} ${leaseEpoch}`;
}

/** An answer for every loan that was named, in the order of the report; `lasting` has the ms of those that hold. */
function answer(
  report: TaskReport,
  lasting: ReadonlyMap<string, number>,
  changes: TaskChange[],
): TaskReportAnswer {
  const remaining = (claim: TaskClaim) => {
    const taskId = parseId("task", claim.taskId);
    return taskId === undefined ? undefined : lasting.get(keyOf({ taskId, leaseEpoch: claim.leaseEpoch }));
  };
  const { currentTask, heldLeases } = report;
  const named = currentTask === undefined ? heldLeases : [currentTask, ...heldLeases];
  const unique = new Map(
    named.map(({ taskId, leaseEpoch }) => [keyOf({ taskId, leaseEpoch }), { taskId, leaseEpoch }]),
  );
  const currentId =
    currentTask && remaining(currentTask) !== undefined ? parseId("task", currentTask.taskId) : undefined;
  return {
    currentTask:
      currentTask === undefined || currentId === undefined
        ? undefined
        : { taskId: currentId, leaseEpoch: currentTask.leaseEpoch },
    leases: [...unique.values()].map((claim) => ({ ...claim, remainingMs: remaining(claim) })),
    changes,
  };
}
