import type { AgentStatus, ReportedStatus } from "../agents/agent.ts";
import { lockAgent, saveAgentState, saveProfile } from "../agents/agent-service.ts";
import type { AgentProfile, LockedState } from "../agents/agent-store.ts";
import { type AuditChange, appendAudit } from "../audit/audit-log.ts";
import { type ReportedError, storeError } from "../error-reports/error-report-service.ts";
import { agentChanged, type EventDraft } from "../events/event.ts";
import { appendEvents } from "../events/outbox.ts";
import type { AgentCaller } from "../identity/caller.ts";
import { confirmCaller } from "../identity/confirm-caller.ts";
import { Refusal } from "../runtime/refusal.ts";
import { formatId } from "../runtime/resource-id.ts";
import { type Db, inTransaction, type Tx } from "../storage/database.ts";
import type { JsonObject } from "../storage/schema.ts";
import type { AgentCommand } from "../tasks/command-store.ts";
import type {
  HeldTasks,
  LeaseAnswer,
  TaskClaim,
  TaskFailures,
  TaskReport,
  TaskReportAnswer,
} from "../tasks/held-tasks.ts";
import type { TaskChange } from "../tasks/task-change.ts";
import { renewToken } from "../tokens/token-service.ts";
import { decideTransition } from "./decide-transition.ts";
import { enterByHello, enterSession, type NewBeat } from "./enter-session.ts";
import { didAnything, type HeartbeatEffect, readEffect } from "./heartbeat-effect.ts";
import { findEffect, type HeartbeatKey, insertEffect } from "./heartbeat-store.ts";

/** A heartbeat as an agent sent it. */
export interface Heartbeat {
  status: ReportedStatus;
  tasks: TaskReport;
  /** Sequences of the commands that the agent has taken. */
  acknowledgedCommands: bigint[];
  error: { severity: "warning" | "fatal"; message: string; context: JsonObject | undefined } | undefined;
  profile: AgentProfile;
  /** Without a sequence the beat is of that run, and nothing is deduplicated. */
  session: { bootId: string; sequence: bigint | undefined } | undefined;
}

/** What the server answers to a heartbeat. */
export interface HeartbeatAnswer {
  status: AgentStatus;
  transition: StatusTransition | undefined;
  taskFailures: TaskFailures | undefined;
  duplicate: boolean;
  renewedToken: string | undefined;
  reportFullState: boolean;
  leases: LeaseAnswer[];
  commands: AgentCommand[];
}

/** What a transaction took of a heartbeat; the changes of tasks are for those who wait for some. */
type Taken = Omit<HeartbeatAnswer, "renewedToken" | "commands"> & {
  changes: TaskChange[];
  /** Epoch of the run that began by this heartbeat, if one did. */
  began?: bigint;
};

export interface StatusTransition {
  from: AgentStatus;
  to: AgentStatus;
  reason: string;
}

/** A committed change of status, for those who are told of it. */
export interface CommittedTransition extends StatusTransition {
  projectId: string;
  project: string;
  agentId: string;
  agent: string;
}

export interface HeartbeatListener {
  /** A change of status was committed. */
  transition(transition: CommittedTransition): void;
  /** A heartbeat named a task that its agent does not hold; the link was dropped and the rest taken. */
  linkDropped(agent: AgentCaller, claim: TaskClaim): void;
  /** The agent was removed between its authentication and its heartbeat. */
  agentGone(agent: AgentCaller): void;
  /** A new run of the agent's process was given its epoch; those of lower epochs are superseded. */
  sessionBegan(agent: AgentCaller, epoch: bigint): void;
}

/**
 * Takes heartbeats. All that one does happens in one transaction on its agent's locked row: it is durable when it is
 * answered, and nothing of it is when it is not.
 */
export class HeartbeatService {
  readonly #db: Db;
  readonly #tasks: HeldTasks;
  readonly #listener: HeartbeatListener;
  readonly #agentTokenTtlMs: number;

  constructor(db: Db, tasks: HeldTasks, listener: HeartbeatListener, agentTokenTtlMs: number) {
    this.#db = db;
    this.#tasks = tasks;
    this.#listener = listener;
    this.#agentTokenTtlMs = agentTokenTtlMs;
  }

  /** `renewalDue`: the caller's token is past a third of its life. Throws NOT_FOUND, ABORTED. */
  async beat(caller: AgentCaller, heartbeat: Heartbeat, renewalDue: boolean): Promise<HeartbeatAnswer> {
    const { changes, began, ...answer } = await this.#inAgentTransaction(caller, async (tx) => {
      const locked = await lockAgent(tx, caller.projectId, caller.agentId);
      const taken = await this.#take(tx, caller, heartbeat, locked);
      const commands = await this.#exchangeCommands(tx, caller, heartbeat, locked);
      const renewed = renewalDue ? await renewToken(tx, caller, this.#agentTokenTtlMs) : undefined;
      await confirmCaller(tx, caller);
      return { ...taken, commands, renewedToken: renewed?.text };
    });
    this.#tasks.announce(changes);
    // After the commit, never before: who hears of a transition can rely on it.
    const { transition, duplicate } = answer;
    if (began !== undefined) this.#listener.sessionBegan(caller, began);
    if (transition !== undefined && !duplicate) {
      const { projectId, project, agentId, agentName } = caller;
      this.#listener.transition({ projectId, project, agentId, agent: agentName, ...transition });
    }
    return answer;
  }

  /**
   * Gives a run of the agent's process its epoch, as its first heartbeat would, so that it supersedes the run before.
   * It is no heartbeat: the agent's state stays as it is. Throws NOT_FOUND, ABORTED.
   */
  async enter(caller: AgentCaller, bootId: string): Promise<bigint> {
    const { projectId, agentId } = caller;
    const { state, isNew } = await this.#inAgentTransaction(caller, async (tx) => {
      const locked = await lockAgent(tx, projectId, agentId);
      const entered = await enterByHello(tx, caller, locked, bootId);
      if (entered.isNew)
        await saveAgentState(tx, projectId, entered.state, { seen: false, statusChanged: false });
      return entered;
    });
    if (isNew) this.#listener.sessionBegan(caller, state.epoch);
    return state.epoch;
  }

  async #inAgentTransaction<T>(caller: AgentCaller, run: (tx: Tx) => Promise<T>): Promise<T> {
    try {
      return await inTransaction(this.#db, run);
    } catch (error) {
      if (error instanceof Refusal && error.reason === "AGENT_REMOVED") this.#listener.agentGone(caller);
      throw error;
    }
  }

  async #take(tx: Tx, caller: AgentCaller, heartbeat: Heartbeat, locked: LockedState): Promise<Taken> {
    const place = await enterSession(tx, caller, locked, heartbeat.session);
    switch (place.kind) {
      case "new": {
        const answer = await this.#apply(tx, caller, heartbeat, place);
        return { ...answer, ...(place.state.epoch > locked.epoch && { began: place.state.epoch }) };
      }
      case "late":
        return await this.#answerLate(tx, caller, heartbeat, locked, place.key);
    }
  }

  /** A beat whose sequence was passed already: its own record, or its error alone. Its leases are read, not renewed. */
  async #answerLate(
    tx: Tx,
    caller: AgentCaller,
    heartbeat: Heartbeat,
    locked: LockedState,
    key: HeartbeatKey,
  ): Promise<Taken> {
    const tasks = await this.#tasks.look(tx, caller, heartbeat.tasks);
    const recorded = await findEffect(tx, key);
    if (recorded !== undefined) return takenOf(readEffect(recorded), tasks, { duplicate: true });
    const errorId = await this.#storeError(tx, caller, heartbeat, tasks);
    const effect: HeartbeatEffect = { status: locked.status, ...(errorId !== undefined && { errorId }) };
    if (errorId === undefined) return takenOf(effect, tasks, { duplicate: true });
    await insertEffect(tx, key, effect);
    return takenOf(effect, tasks, {});
  }

  async #apply(tx: Tx, caller: AgentCaller, heartbeat: Heartbeat, place: NewBeat): Promise<Taken> {
    const { state, key } = place;
    const decision = decideTransition(state.status, {
      status: heartbeat.status,
      errorSeverity: heartbeat.error?.severity,
    });
    const { tasks, link, taskFailures } = await this.#takeTasks(tx, caller, heartbeat, decision.failTasks);
    const errorId = await this.#storeError(tx, caller, heartbeat, link);
    const { projectId, agentId } = caller;
    const { next, entries, events } = advance(caller, state, decision);
    next.currentTaskId = tasks.currentTask?.taskId ?? null;
    next.currentLeaseEpoch = tasks.currentTask?.leaseEpoch ?? null;
    await saveAgentState(tx, projectId, next, { seen: true, statusChanged: decision.kind === "transition" });
    await saveProfile(tx, projectId, agentId, heartbeat.profile);
    await appendAudit(tx, entries);
    await appendEvents(tx, events);
    const effect: HeartbeatEffect = {
      status: next.status,
      ...(decision.kind === "transition" && {
        transition: { from: decision.from, to: decision.to, reason: decision.reason },
      }),
      ...(taskFailures !== undefined && { taskFailures }),
      ...(errorId !== undefined && { errorId }),
    };
    if (key !== undefined && didAnything(effect)) await insertEffect(tx, key, effect);
    return takenOf(effect, tasks, { reportFullState: place.sessionIsNew && saysLittle(heartbeat.profile) });
  }

  /** Renews the agent's loans, or fails them all; `link` still knows the task at hand, to which the error belongs. */
  async #takeTasks(
    tx: Tx,
    caller: AgentCaller,
    heartbeat: Heartbeat,
    failTasks: boolean,
  ): Promise<{ tasks: TaskReportAnswer; link: TaskReportAnswer; taskFailures: TaskFailures | undefined }> {
    if (!failTasks) {
      const tasks = await this.#tasks.report(tx, caller, heartbeat.tasks);
      return { tasks, link: tasks, taskFailures: undefined };
    }
    const link = await this.#tasks.look(tx, caller, heartbeat.tasks);
    const { projectId, agentId, actor } = caller;
    const reason = failureReason(heartbeat);
    const { failures, changes } = await this.#tasks.failAll(tx, { projectId, agentId, actor, reason });
    return { tasks: { ...loseAll(link), changes }, link, taskFailures: failures };
  }

  async #storeError(
    tx: Tx,
    caller: AgentCaller,
    { error, tasks }: Heartbeat,
    link: TaskReportAnswer,
  ): Promise<string | undefined> {
    const { currentTask } = tasks;
    if (currentTask !== undefined && link.currentTask === undefined)
      this.#listener.linkDropped(caller, currentTask);
    if (error === undefined) return undefined;
    const reported: ReportedError = { ...error, taskId: link.currentTask?.taskId };
    return await storeError(tx, caller.projectId, caller.agentId, reported);
  }

  /** An agent that never had a command need not be asked about: nearly all heartbeats come from such. */
  async #exchangeCommands(
    tx: Tx,
    caller: AgentCaller,
    { acknowledgedCommands }: Heartbeat,
    locked: LockedState,
  ): Promise<AgentCommand[]> {
    if (locked.commandSequence === 0n) return [];
    return await this.#tasks.exchangeCommands(tx, caller, acknowledgedCommands);
  }
}

/** The state after a beat, and an event and an audit entry for each real change, each with a version of its own. */
function advance(
  caller: AgentCaller,
  state: LockedState,
  decision: ReturnType<typeof decideTransition>,
): { next: LockedState; entries: AuditChange[]; events: EventDraft[] } {
  const next: LockedState = { ...state, liveness: "live" };
  const entries: AuditChange[] = [];
  const events: EventDraft[] = [];
  const { projectId, agentId, actor } = caller;
  if (state.liveness !== "live") {
    const reason = state.liveness === "never" ? "first heartbeat" : "heartbeats returned";
    const change = { type: "agent.liveness_changed", from: state.liveness, to: "live", reason } as const;
    events.push(agentChanged({ projectId, agentId, actor, ...change }));
  }
  const common = {
    projectId: caller.projectId,
    actor: caller.actor,
    subject: formatId("agent", caller.agentId),
  };
  // A stale agent counts as live there: the audit log tells of losses and returns, not of every late beat.
  if (state.liveness === "never" || state.liveness === "offline") {
    next.version += 1n;
    const reason = state.liveness === "never" ? "first heartbeat" : "heartbeats returned";
    const change = { field: "liveness", from: state.liveness, to: "live", version: next.version, reason };
    entries.push({ ...common, action: "agent.liveness_changed", ...change });
  }
  if (decision.kind === "transition") {
    next.status = decision.to;
    next.version += 1n;
    const { from, to, reason } = decision;
    entries.push({
      ...common,
      action: "agent.status_changed",
      field: "status",
      from,
      to,
      version: next.version,
      reason,
    });
    events.push(agentChanged({ projectId, agentId, actor, type: "agent.status_changed", from, to, reason }));
  }
  return { next, entries, events };
}

function takenOf(
  effect: HeartbeatEffect,
  { leases, changes }: TaskReportAnswer,
  { duplicate = false, reportFullState = false },
): Taken {
  const { status, transition, taskFailures } = effect;
  return { status, transition, taskFailures, duplicate, reportFullState, leases, changes };
}

function loseAll({ leases }: TaskReportAnswer): Omit<TaskReportAnswer, "changes"> {
  return { currentTask: undefined, leases: leases.map((lease) => ({ ...lease, remainingMs: undefined })) };
}

/** A new run of a process may be a new program on another machine: what was known of the old one is asked for again. */
function saysLittle(profile: AgentProfile): boolean {
  return profile.capabilities === undefined && profile.deviceInfo === undefined;
}

function failureReason({ error }: Heartbeat): string {
  return error?.severity === "fatal"
    ? "the agent reported a fatal error"
    : "the agent reported that it is in error";
}
