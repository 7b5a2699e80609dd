import { readOffers } from "../../src/agents/agent-service.ts";
import { insertAgent } from "../../src/agents/agent-store.ts";
import type { CordonChange } from "../../src/agents/cordon-service.ts";
import { HeartbeatService } from "../../src/heartbeat/heartbeat-service.ts";
import { HeartbeatWriter } from "../../src/heartbeat/heartbeat-writer.ts";
import type { AgentCaller, OperatorCaller } from "../../src/identity/caller.ts";
import { ensureProject } from "../../src/projects/project-store.ts";
import { Quotas } from "../../src/quotas/quotas.ts";
import { newUuid } from "../../src/runtime/resource-id.ts";
import { type Database, inTransaction, openDatabase } from "../../src/storage/database.ts";
import { ClaimService } from "../../src/tasks/claim-service.ts";
import { ClaimWriter } from "../../src/tasks/claim-writer.ts";
import { CompletionWriter } from "../../src/tasks/completion-writer.ts";
import type { Spared } from "../../src/tasks/give-back.ts";
import { HeldTasks } from "../../src/tasks/held-tasks.ts";
import { LoanService } from "../../src/tasks/loan-service.ts";
import { NO_REQUIREMENTS, type Offer } from "../../src/tasks/match-task.ts";
import { RenewalWriter } from "../../src/tasks/renewal-writer.ts";
import { findDue } from "../../src/tasks/requirement-store.ts";
import type { TaskChange } from "../../src/tasks/task-change.ts";
import type { TaskRules } from "../../src/tasks/task-rules.ts";
import { createTask, type NewTaskWish, type ShownTask, showTask } from "../../src/tasks/task-service.ts";
import { WaitingClaims } from "../../src/tasks/waiting-claims.ts";
import { createTestDatabase } from "../helpers/test-database.ts";

/** Authenticated just now, at any time: the callers here have no tokens that could be asked for. */
const always = Number.POSITIVE_INFINITY;

/** The services of tasks on a database of their own, with a project and an operator. */
export interface TaskFixture {
  database: Database;
  url: string;
  projectId: string;
  operator: OperatorCaller;
  rules: TaskRules;
  claims: ClaimService;
  loans: LoanService;
  held: HeldTasks;
  waiting: WaitingClaims;
  heartbeats: HeartbeatService;
  /** Tasks that could not be handled. */
  unhandled: { taskId: string; error: unknown }[];
  /** Cordons of agents that failed too many tasks. */
  cordoned: CordonChange[];
  /** Heartbeats that named a task which is not their agent's. */
  droppedLinks: string[];
  enroll(name: string, offer?: Partial<Offer>): Promise<AgentCaller>;
  add(wish?: Partial<NewTaskWish>): Promise<string>;
  show(taskId: string): Promise<ShownTask>;
  /** Claims without waiting. */
  claim(agent: AgentCaller, max?: number, kinds?: string[]): ReturnType<ClaimService["claim"]>;
  /** A heartbeat without a session. */
  beat(
    agent: AgentCaller,
    more?: Partial<Parameters<HeartbeatService["beat"]>[1]>,
  ): ReturnType<HeartbeatService["beat"]>;
  /** Audit actions of a task, the oldest first. */
  audit(taskId: string): Promise<string[]>;
  stop(): Promise<void>;
}

export async function startTaskFixture(rules: Partial<TaskRules> = {}): Promise<TaskFixture> {
  const { url, drop } = await createTestDatabase();
  const database = openDatabase({ url, applicationName: "tests", maxConnections: 20 });
  const { db } = database;
  const { id: projectId, name: project } = await ensureProject(db, newUuid(), "default");
  const allRules = { leaseMs: 60_000, backoff: { firstMs: 1_000, longestMs: 300_000 }, ...rules };
  const waiting = new WaitingClaims(
    { findDue: (awaited) => findDue(db, awaited), readOffers: (agents) => readOffers(db, agents) },
    (error) => {
      throw error;
    },
  );
  await waiting.start();
  const unhandled: TaskFixture["unhandled"] = [];
  const droppedLinks: string[] = [];
  const held = new HeldTasks(db, allRules, waiting, ({ taskId }, error) => unhandled.push({ taskId, error }));
  const listener = {
    transition: () => {},
    sessionBegan: () => {},
    agentGone: () => {},
    linkDropped: (_agent: AgentCaller, claim: { taskId: string }) => void droppedLinks.push(claim.taskId),
  };
  const announce = (changes: readonly TaskChange[]) => waiting.announce(changes);
  const claims = new ClaimService(db, allRules, waiting, new ClaimWriter(db, allRules, announce));
  const cordoned: CordonChange[] = [];
  const writers = {
    renewals: new RenewalWriter(db, allRules, announce),
    completions: new CompletionWriter(db, announce),
  };
  const onCordoned = (changes: readonly CordonChange[]) => void cordoned.push(...changes);
  const loans = new LoanService(db, allRules, waiting, writers, onCordoned);
  const unlimited = { errorsPerAgent: 0, errors: 0, pendingTasks: 0, payloadBytes: 0 };
  const quotas = new Quotas(db, unlimited, () => {});
  const writer = new HeartbeatWriter(
    database,
    { tasks: held, agentTokenTtlMs: 86_400_000, quotas },
    listener,
  );
  const heartbeats = new HeartbeatService(db, writer, listener);
  const operator: OperatorCaller = {
    role: "operator",
    server: true,
    projectId,
    project,
    tokenId: newUuid(),
    actor: "token:test",
    authenticatedAtMs: always,
  };
  return {
    database,
    url,
    projectId,
    operator,
    rules: allRules,
    claims,
    loans,
    held,
    waiting,
    heartbeats,
    unhandled,
    cordoned,
    droppedLinks,
    async enroll(name, { capabilities = [], labels = {} } = {}) {
      const id = newUuid();
      const agent = { projectId, id, name, labels, capabilities: [...capabilities], deviceInfo: null };
      await inTransaction(db, (tx) => insertAgent(tx, agent));
      return {
        role: "agent",
        projectId,
        project,
        tokenId: newUuid(),
        actor: `agent:${name}`,
        authenticatedAtMs: always,
        agentId: id,
        agentName: name,
      };
    },
    async add(wish = {}) {
      const whole: NewTaskWish = {
        kind: "hash",
        payload: undefined,
        priority: 5,
        labels: {},
        maxRetries: 3,
        timeoutMs: undefined,
        notBefore: undefined,
        requirements: NO_REQUIREMENTS,
        ...wish,
      };
      const { task, changes } = await inTransaction(db, (tx) => createTask(tx, operator, whole, ""));
      waiting.announce(changes);
      return task.id;
    },
    show: (taskId) => showTask(db, projectId, taskId),
    claim: (agent, max = 1, kinds = []) =>
      claims.claim(agent, { kinds, max, waitMs: 0 }, new AbortController().signal),
    beat: (agent, more = {}) =>
      heartbeats.beat(
        agent,
        {
          status: "online",
          tasks: { currentTask: undefined, heldLeases: [] },
          acknowledgedCommands: [],
          error: undefined,
          profile: { labels: undefined, capabilities: undefined, deviceInfo: undefined, gauges: undefined },
          session: undefined,
          ...more,
        },
        false,
      ),
    async audit(taskId) {
      const rows = await database.sql<{ action: string }>`
        SELECT action FROM audit_entries WHERE subject = ${`task_${taskId}`} ORDER BY time, id`;
      return rows.map(({ action }) => action);
    },
    async stop() {
      await waiting.stop();
      await writer.stop();
      await database.close();
      await drop();
    },
  };
}

/** No task stays with an agent that is gone: no project is braked. */
export const noneSpared: Spared = { projectIds: [], silentForMs: 0 };

/** Packs a plain JSON value as a payload or a result. */
export function pack(value: unknown): { text: string; bytes: number } {
  const text = JSON.stringify(value);
  return { text, bytes: Buffer.byteLength(text) };
}

export const forever: AbortSignal = new AbortController().signal;

/** What a promise is rejected with, as a refusal's kind and reason; fails when it is not. */
export async function refusalOf(
  promise: Promise<unknown>,
): Promise<{ kind: string; reason: string | undefined }> {
  const { Refusal } = await import("../../src/runtime/refusal.ts");
  const error: unknown = await promise.then(
    (value) => new Error(`it was not refused: ${String(value)}`),
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof Refusal)) throw error;
  return { kind: error.kind, reason: error.reason };
}
