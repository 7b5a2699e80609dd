import { agentRemoved, lockAgents, saveAgentStates, saveProfiles } from "../agents/agent-service.ts";
import type { AgentProfile, LockedState } from "../agents/agent-store.ts";
import { type AuditChange, appendAudit } from "../audit/audit-log.ts";
import { exchangeCommands } from "../commands/command-service.ts";
import { type ReportedError, storeErrors } from "../error-reports/error-report-service.ts";
import { scrubText } from "../error-reports/scrub-secrets.ts";
import { agentChanged, type EventDraft, shortText } from "../events/event.ts";
import { appendEvents } from "../events/outbox.ts";
import type { AgentCaller } from "../identity/caller.ts";
import type { Quotas } from "../quotas/quotas.ts";
import type { Refusal } from "../runtime/refusal.ts";
import { formatId } from "../runtime/resource-id.ts";
import type { Tx } from "../storage/database.ts";
import type { HeldTasks, TaskClaim, TaskFailures, TaskReportAnswer } from "../tasks/held-tasks.ts";
import type { TaskChange } from "../tasks/task-change.ts";
import { renewToken } from "../tokens/token-service.ts";
import { decideTransition, type HeartbeatDecision } from "./decide-transition.ts";
import { decidePlace, type NewBeat, type Place, sessionSuperseded } from "./enter-session.ts";
import type { Beat, Heartbeat, HeartbeatAnswer } from "./heartbeat.ts";
import { didAnything, type HeartbeatEffect, readEffect } from "./heartbeat-effect.ts";
import { findEffects, findSessionEpochs, insertEffects, insertSessions } from "./heartbeat-store.ts";

/** What a transaction took of a heartbeat; all but the answer is for those who hear of it after the commit. */
export interface TakenBeat {
  readonly kind: "taken";
  readonly answer: HeartbeatAnswer;
  readonly changes: TaskChange[];
  /** Epoch of the run that began by this heartbeat. */
  readonly began: bigint | undefined;
  /** It named a task that its agent does not hold. */
  readonly dropped: TaskClaim | undefined;
}

export type BeatOutcome =
  | TakenBeat
  | { readonly kind: "refused"; readonly refusal: Refusal }
  /** Somebody else has locked the agent's row. */
  | { readonly kind: "blocked" };

/** What taking heartbeats needs besides a transaction. */
export interface TakeParts {
  readonly tasks: HeldTasks;
  readonly agentTokenTtlMs: number;
  readonly quotas: Quotas;
}

/** A beat that is taken: where it stands, what was decided, and what is written of it. */
interface Work {
  readonly beat: Beat;
  readonly locked: LockedState;
  readonly place: Exclude<Place, { kind: "superseded" }>;
  readonly decision: HeartbeatDecision | undefined;
  tasks: TaskReportAnswer;
  /** Knows the task at hand also where the tasks fail: the error belongs to it. */
  link: TaskReportAnswer;
  taskFailures: TaskFailures | undefined;
  effect: HeartbeatEffect | undefined;
  duplicate: boolean;
}

/**
 * Takes heartbeats, of each agent one, in the transaction: their agents' rows are locked in the order of ids, each is
 * decided by itself, and all that they do is written set by set. Without `waiting`, agents that somebody else has locked
 * are left out as `blocked`. Outcomes are in the order of the beats.
 */
export async function takeBeats(
  tx: Tx,
  beats: readonly Beat[],
  parts: TakeParts,
  how: { waiting: boolean },
): Promise<BeatOutcome[]> {
  const states = await lockAgents(
    tx,
    beats.map(({ caller }) => caller),
    how,
  );
  const places = await findPlaces(tx, beats, states);
  const work = new Map<Beat, Work>();
  for (const [index, beat] of beats.entries()) {
    const [locked, place] = [states.get(beat.caller.agentId), places[index]];
    if (locked === undefined || place === undefined || place.kind === "superseded") continue;
    work.set(beat, workOf(beat, locked, place));
  }
  const all = [...work.values()];
  await readRecords(tx, all);
  await takeTasks(tx, all, parts);
  await storeReported(tx, all, parts);
  const begun = await writeAll(tx, all);
  const commands = await exchangeCommands(tx, commandedOf(all));
  const outcomes: BeatOutcome[] = [];
  for (const [index, beat] of beats.entries()) {
    const taken = work.get(beat);
    if (taken === undefined) outcomes.push(untaken(places[index], how));
    else {
      const renewed = beat.renewalDue ? await renewToken(tx, beat.caller, parts.agentTokenTtlMs) : undefined;
      const more = { commands: commands.get(beat.caller.agentId) ?? [], renewedToken: renewed?.text };
      outcomes.push(outcomeOf(taken, begun, more));
    }
  }
  return outcomes;
}

function untaken(place: Place | undefined, { waiting }: { waiting: boolean }): BeatOutcome {
  if (place?.kind === "superseded") return { kind: "refused", refusal: sessionSuperseded() };
  return waiting ? { kind: "refused", refusal: agentRemoved() } : { kind: "blocked" };
}

async function findPlaces(
  tx: Tx,
  beats: readonly Beat[],
  states: ReadonlyMap<string, LockedState>,
): Promise<(Place | undefined)[]> {
  const runs = beats.flatMap(({ caller: { projectId, agentId }, heartbeat: { session } }) =>
    session === undefined || session.epoch !== undefined || !states.has(agentId)
      ? []
      : [{ projectId, agentId, bootId: session.bootId }],
  );
  const epochs = await findSessionEpochs(tx, runs);
  return beats.map(({ caller, heartbeat: { session } }) => {
    const locked = states.get(caller.agentId);
    return locked && decidePlace(caller, locked, session, session?.epoch ?? epochs.get(caller.agentId));
  });
}

function workOf(beat: Beat, locked: LockedState, place: Work["place"]): Work {
  const { status, error } = beat.heartbeat;
  const decision =
    place.kind === "new"
      ? decideTransition(place.state.status, { status, errorSeverity: error?.severity })
      : undefined;
  return {
    beat,
    locked,
    place,
    decision,
    tasks: NO_TASKS,
    link: NO_TASKS,
    taskFailures: undefined,
    effect: undefined,
    duplicate: false,
  };
}

const NO_TASKS: TaskReportAnswer = { currentTask: undefined, leases: [], changes: [] };

/** A beat whose sequence was passed already gets its own record, if it has one. */
async function readRecords(tx: Tx, all: readonly Work[]): Promise<void> {
  const late = all.flatMap((work) => (work.place.kind === "late" ? [{ work, key: work.place.key }] : []));
  const records = await findEffects(
    tx,
    late.map(({ key }) => key),
  );
  for (const { work, key } of late) {
    const recorded = records.get(key.agentId);
    if (recorded !== undefined) work.effect = readEffect(recorded);
    work.duplicate = recorded !== undefined || work.beat.heartbeat.error === undefined;
  }
}

/** Renews the agents' loans, or fails them all; those of late beats are only read. */
async function takeTasks(tx: Tx, all: readonly Work[], { tasks }: TakeParts): Promise<void> {
  const reportOf = ({ beat }: Work) => ({ agent: beat.caller, report: beat.heartbeat.tasks });
  const [renewing, looking] = partition(all, ({ decision }) => decision !== undefined && !decision.failTasks);
  const renewed = await tasks.report(tx, renewing.map(reportOf));
  for (const [index, work] of renewing.entries()) work.tasks = work.link = renewed[index] ?? NO_TASKS;
  const looked = await tasks.look(tx, looking.map(reportOf));
  for (const [index, work] of looking.entries()) work.tasks = work.link = looked[index] ?? NO_TASKS;
  for (const work of looking) {
    if (!work.decision?.failTasks) continue;
    const { projectId, agentId, actor } = work.beat.caller;
    const reason = failureReason(work.beat.heartbeat);
    const { failures, changes } = await tasks.failAll(tx, { projectId, agentId, actor, reason });
    work.tasks = { ...loseAll(work.link), changes };
    work.taskFailures = failures;
  }
}

/** Stores the errors of beats that are heard for the first time, and says of each beat what it did. */
async function storeReported(tx: Tx, all: readonly Work[], { quotas }: TakeParts): Promise<void> {
  const ids = await storeErrors(
    tx,
    all.flatMap(({ beat, link, effect }) => {
      const { error } = beat.heartbeat;
      if (error === undefined || effect !== undefined) return [];
      const { projectId, agentId } = beat.caller;
      const reported: ReportedError = { ...error, taskId: link.currentTask?.taskId };
      return [{ projectId, agentId, error: reported }];
    }),
    (rows) => quotas.makeRoom(tx, rows),
  );
  for (const work of all) work.effect ??= effectOf(work, ids.get(work.beat.caller.agentId));
}

function effectOf({ locked, decision, taskFailures }: Work, errorId: string | undefined): HeartbeatEffect {
  const stored = errorId === undefined ? {} : { errorId };
  if (decision === undefined) return { status: locked.status, ...stored };
  if (decision.kind === "none") {
    return { status: decision.status, ...(taskFailures !== undefined && { taskFailures }), ...stored };
  }
  const { from, to, reason } = decision;
  return {
    status: to,
    transition: { from, to, reason },
    ...(taskFailures !== undefined && { taskFailures }),
    ...stored,
  };
}

/** Writes what the beats make of their agents; resolves to the epochs of runs that began, by agent. */
async function writeAll(tx: Tx, all: readonly Work[]): Promise<Map<string, bigint>> {
  const fresh = all.flatMap((work) => {
    const { place, decision } = work;
    return place.kind === "new" && decision !== undefined ? [{ work, place, decision }] : [];
  });
  const advanced = fresh.map(({ work, place, decision }) => ({ work, ...advance(work, place, decision) }));
  await insertSessions(
    tx,
    fresh.flatMap(({ place }) => place.begins ?? []),
  );
  await saveAgentStates(
    tx,
    advanced.map(({ work, next }) => ({
      projectId: work.beat.caller.projectId,
      agentId: next.agentId,
      state: next,
      seen: true,
      statusChanged: work.decision?.kind === "transition",
    })),
  );
  await saveProfiles(
    tx,
    fresh.map(({ work: { beat } }) => ({ ...beat.caller, profile: beat.heartbeat.profile })),
  );
  await appendAudit(
    tx,
    advanced.flatMap(({ entries }) => entries),
  );
  await appendEvents(
    tx,
    advanced.flatMap(({ events }) => events),
  );
  await insertEffects(tx, all.flatMap(recordOf));
  return new Map(
    fresh.flatMap(({ place: { begins } }) => (begins === undefined ? [] : [[begins.agentId, begins.epoch]])),
  );
}

function recordOf({ place, effect, duplicate }: Work) {
  const { key } = place;
  if (key === undefined || effect === undefined || duplicate || !didAnything(effect)) return [];
  return [{ ...key, effect }];
}

/** The state after a beat, and an event and an audit entry for each real change, each with a version of its own. */
function advance(
  { beat: { caller }, tasks }: Work,
  { state }: NewBeat,
  decision: HeartbeatDecision,
): { next: LockedState; entries: AuditChange[]; events: EventDraft[] } {
  const next: LockedState = {
    ...state,
    liveness: "live",
    currentTaskId: tasks.currentTask?.taskId ?? null,
    currentLeaseEpoch: tasks.currentTask?.leaseEpoch ?? null,
  };
  const entries: AuditChange[] = [];
  const events: EventDraft[] = [];
  const { projectId, agentId, actor } = caller;
  const about = { projectId, agentId, actor };
  if (state.liveness !== "live") {
    const reason = state.liveness === "never" ? "first heartbeat" : "heartbeats returned";
    const change = { type: "agent.liveness_changed", from: state.liveness, to: "live", reason } as const;
    events.push(agentChanged({ ...about, ...change }));
  }
  // A stale agent counts as live there: the audit log tells of losses and returns, not of every late beat.
  if (state.liveness === "never" || state.liveness === "offline") {
    next.version += 1n;
    const reason = state.liveness === "never" ? "first heartbeat" : "heartbeats returned";
    const change = { field: "liveness", from: state.liveness, to: "live", version: next.version, reason };
    entries.push({ ...commonOf(caller), action: "agent.liveness_changed", ...change });
  }
  if (decision.kind === "transition") {
    next.status = decision.to;
    next.version += 1n;
    const { from, to, reason } = decision;
    const change = { field: "status", from, to, version: next.version, reason };
    entries.push({ ...commonOf(caller), action: "agent.status_changed", ...change });
    events.push(agentChanged({ ...about, type: "agent.status_changed", from, to, reason }));
  }
  return { next, entries, events };
}

function commonOf({ projectId, actor, agentId }: AgentCaller) {
  return { projectId, actor, subject: formatId("agent", agentId) };
}

/** An agent that never had a command need not be asked about: nearly all heartbeats come from such. */
function commandedOf(all: readonly Work[]) {
  return all
    .filter(({ locked }) => locked.commandSequence > 0n)
    .map(({ beat: { caller, heartbeat } }) => ({
      projectId: caller.projectId,
      agentId: caller.agentId,
      sequences: heartbeat.acknowledgedCommands,
    }));
}

function outcomeOf(
  { beat, place, tasks, link, effect, duplicate }: Work,
  begun: ReadonlyMap<string, bigint>,
  more: Pick<HeartbeatAnswer, "commands" | "renewedToken">,
): TakenBeat {
  if (effect === undefined) throw new Error("a heartbeat was taken without an effect");
  const { currentTask } = beat.heartbeat.tasks;
  const reportFullState = place.kind === "new" && place.sessionIsNew && saysLittle(beat.heartbeat.profile);
  const { status, transition, taskFailures } = effect;
  const { leases, changes } = tasks;
  return {
    kind: "taken",
    answer: { status, transition, taskFailures, duplicate, reportFullState, leases, ...more },
    changes,
    began: begun.get(beat.caller.agentId),
    dropped: !duplicate && link.currentTask === undefined ? currentTask : undefined,
  };
}

function loseAll({ leases }: TaskReportAnswer): Omit<TaskReportAnswer, "changes"> {
  return { currentTask: undefined, leases: leases.map((lease) => ({ ...lease, remainingMs: undefined })) };
}

/** A new run of a process may be a new program on another machine: what was known of the old one is asked for again. */
function saysLittle(profile: AgentProfile): boolean {
  return profile.capabilities === undefined && profile.deviceInfo === undefined;
}

/** Kept with every task that fails by it: so it is short, and without secrets. */
function failureReason({ error }: Heartbeat): string {
  return error?.severity === "fatal"
    ? `the agent reported a fatal error: ${shortText(scrubText(error.message))}`
    : "the agent reported that it is in error";
}

function partition<T>(all: readonly T[], isFirst: (one: T) => boolean): [T[], T[]] {
  return [all.filter(isFirst), all.filter((one) => !isFirst(one))];
}
