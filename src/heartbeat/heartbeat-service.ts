import type { AgentStatus, ReportedStatus } from "../agents/agent.ts";
import { lockAgent, saveAgentState, saveProfile } from "../agents/agent-service.ts";
import type { AgentProfile, LockedState } from "../agents/agent-store.ts";
import { type AuditChange, appendAudit } from "../audit/audit-log.ts";
import { type ReportedError, storeError } from "../error-reports/error-report-service.ts";
import type { AgentCaller } from "../identity/caller.ts";
import { confirmCaller } from "../identity/confirm-caller.ts";
import { Refusal } from "../runtime/refusal.ts";
import { formatId } from "../runtime/resource-id.ts";
import { type Db, inTransaction, type Tx } from "../storage/database.ts";
import type { JsonObject } from "../storage/schema.ts";
import { renewToken } from "../tokens/token-service.ts";
import { decideTransition } from "./decide-transition.ts";
import { didAnything, type HeartbeatEffect, readEffect } from "./heartbeat-effect.ts";
import {
  findEffect,
  findSessionEpoch,
  type HeartbeatKey,
  insertEffect,
  insertSession,
} from "./heartbeat-store.ts";
import type { HeldTasks, TaskClaim, TaskFailures } from "./held-tasks.ts";

/** A heartbeat as an agent sent it. */
export interface Heartbeat {
  status: ReportedStatus;
  currentTask: TaskClaim | undefined;
  error: { severity: "warning" | "fatal"; message: string; context: JsonObject | undefined } | undefined;
  profile: AgentProfile;
  session: { bootId: string; sequence: bigint } | undefined;
}

/** What the server answers to a heartbeat. */
export interface HeartbeatAnswer {
  status: AgentStatus;
  transition: StatusTransition | undefined;
  taskFailures: TaskFailures | undefined;
  duplicate: boolean;
  renewedToken: string | undefined;
  reportFullState: boolean;
}

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
    const answer = await this.#inAgentTransaction(caller, async (tx) => {
      const taken = await this.#take(tx, caller, heartbeat);
      const renewed = renewalDue ? await renewToken(tx, caller, this.#agentTokenTtlMs) : undefined;
      await confirmCaller(tx, caller);
      return { ...taken, renewedToken: renewed?.text };
    });
    // After the commit, never before: who hears of a transition can rely on it.
    const { transition, duplicate } = answer;
    if (transition !== undefined && !duplicate) {
      const { projectId, project, agentId, agentName } = caller;
      this.#listener.transition({ projectId, project, agentId, agent: agentName, ...transition });
    }
    return answer;
  }

  async #inAgentTransaction<T>(caller: AgentCaller, run: (tx: Tx) => Promise<T>): Promise<T> {
    try {
      return await inTransaction(this.#db, run);
    } catch (error) {
      if (error instanceof Refusal && error.reason === "AGENT_REMOVED") this.#listener.agentGone(caller);
      throw error;
    }
  }

  async #take(
    tx: Tx,
    caller: AgentCaller,
    heartbeat: Heartbeat,
  ): Promise<Omit<HeartbeatAnswer, "renewedToken">> {
    const locked = await lockAgent(tx, caller.projectId, caller.agentId);
    const place = await enterSession(tx, caller, locked, heartbeat);
    switch (place.kind) {
      case "new":
        return await this.#apply(tx, caller, heartbeat, place);
      case "late":
        return await this.#answerLate(tx, caller, heartbeat, locked, place.key);
    }
  }

  /** A beat whose sequence was passed already: its own record, or its error alone. */
  async #answerLate(
    tx: Tx,
    caller: AgentCaller,
    heartbeat: Heartbeat,
    locked: LockedState,
    key: HeartbeatKey,
  ): Promise<Omit<HeartbeatAnswer, "renewedToken">> {
    const recorded = await findEffect(tx, key);
    if (recorded !== undefined) return answerOf(readEffect(recorded), true, false);
    const errorId = await this.#storeError(tx, caller, heartbeat);
    const effect: HeartbeatEffect = { status: locked.status, ...(errorId !== undefined && { errorId }) };
    if (errorId === undefined) return answerOf(effect, true, false);
    await insertEffect(tx, key, effect);
    return answerOf(effect, false, false);
  }

  async #apply(
    tx: Tx,
    caller: AgentCaller,
    heartbeat: Heartbeat,
    place: NewBeat,
  ): Promise<Omit<HeartbeatAnswer, "renewedToken">> {
    const { state, key } = place;
    const decision = decideTransition(state.status, {
      status: heartbeat.status,
      errorSeverity: heartbeat.error?.severity,
    });
    const errorId = await this.#storeError(tx, caller, heartbeat);
    const { projectId, agentId, actor } = caller;
    const taskFailures = decision.failTasks
      ? await this.#tasks.failAll(tx, { projectId, agentId, actor, reason: failureReason(heartbeat) })
      : undefined;
    const { next, entries } = advance(caller, state, decision);
    await saveAgentState(tx, projectId, next, { seen: true, statusChanged: decision.kind === "transition" });
    await saveProfile(tx, projectId, agentId, heartbeat.profile);
    await appendAudit(tx, entries);
    const effect: HeartbeatEffect = {
      status: next.status,
      ...(decision.kind === "transition" && {
        transition: { from: decision.from, to: decision.to, reason: decision.reason },
      }),
      ...(taskFailures !== undefined && { taskFailures }),
      ...(errorId !== undefined && { errorId }),
    };
    if (key !== undefined && didAnything(effect)) await insertEffect(tx, key, effect);
    return answerOf(effect, false, place.sessionIsNew && saysLittle(heartbeat.profile));
  }

  async #storeError(tx: Tx, caller: AgentCaller, heartbeat: Heartbeat): Promise<string | undefined> {
    const { error, currentTask } = heartbeat;
    const { projectId, agentId } = caller;
    const taskId =
      currentTask === undefined ? undefined : await this.#tasks.confirm(tx, projectId, agentId, currentTask);
    if (currentTask !== undefined && taskId === undefined) this.#listener.linkDropped(caller, currentTask);
    if (error === undefined) return undefined;
    const reported: ReportedError = { ...error, taskId };
    return await storeError(tx, projectId, agentId, reported);
  }
}

/** A beat to be taken; `key` is missing where no session was named. */
interface NewBeat {
  kind: "new";
  state: LockedState;
  key: HeartbeatKey | undefined;
  sessionIsNew: boolean;
}

type Place = NewBeat | { kind: "late"; key: HeartbeatKey };

/** Finds the heartbeat's place among those of its agent; a boot_id seen for the first time supersedes the run before. */
async function enterSession(
  tx: Tx,
  caller: AgentCaller,
  locked: LockedState,
  { session }: Heartbeat,
): Promise<Place> {
  if (session === undefined) return { kind: "new", state: locked, key: undefined, sessionIsNew: false };
  const { projectId, agentId } = caller;
  const { bootId, sequence } = session;
  const known = await findSessionEpoch(tx, projectId, agentId, bootId);
  if (known !== undefined && known < locked.epoch) {
    throw new Refusal("aborted", "a newer run of this agent has taken over", {
      reason: "SESSION_SUPERSEDED",
    });
  }
  const epoch = known ?? locked.epoch + 1n;
  const key = { projectId, agentId, epoch, sequence };
  if (known !== undefined && sequence <= locked.sequence) return { kind: "late", key };
  if (known === undefined) await insertSession(tx, { projectId, agentId, bootId, epoch });
  return { kind: "new", state: { ...locked, epoch, sequence }, key, sessionIsNew: known === undefined };
}

/** The state after a beat, and an audit entry for each real change, each with a version of its own. */
function advance(
  caller: AgentCaller,
  state: LockedState,
  decision: ReturnType<typeof decideTransition>,
): { next: LockedState; entries: AuditChange[] } {
  const next: LockedState = { ...state, liveness: "live" };
  const entries: AuditChange[] = [];
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
  }
  return { next, entries };
}

function answerOf(
  effect: HeartbeatEffect,
  duplicate: boolean,
  reportFullState: boolean,
): Omit<HeartbeatAnswer, "renewedToken"> {
  const { status, transition, taskFailures } = effect;
  return { status, transition, taskFailures, duplicate, reportFullState };
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
