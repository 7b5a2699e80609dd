import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { findAgentId } from "../agents/agent-service.ts";
import { shortText } from "../events/event.ts";
import { appendEvents } from "../events/outbox.ts";
import type { Caller } from "../identity/caller.ts";
import { confirmCaller } from "../identity/confirm-caller.ts";
import type { Tracing } from "../observability/tracing.ts";
import { packJson } from "../runtime/json-value.ts";
import { invalidField, Refusal } from "../runtime/refusal.ts";
import { formatId, newUuid, parseId } from "../runtime/resource-id.ts";
import type { Service } from "../runtime/service.ts";
import { type Db, inTransaction, type Tx } from "../storage/database.ts";
import type { HeldLock, SessionLocks } from "../storage/session-locks.ts";
import { NO_REQUIREMENTS } from "../tasks/match-task.ts";
import { createTask } from "../tasks/task-service.ts";
import type { PassContext, PassStep, StepTask } from "./pass-step.ts";
import { concludePass } from "./plan-pass.ts";
import { cancelIfOpen, type PassTasks } from "./reconcile-step.ts";
import { type RanStep, runSteps, type StepListener } from "./run-steps.ts";
import { finishRun, insertRun, type RunRecord, runLockKey, writeProgress } from "./run-store.ts";

export interface PassSettings {
  db: Db;
  locks: SessionLocks;
  tasks: PassTasks;
  /** In their order; asked once, when the service starts. */
  steps(): Promise<PassStep[]>;
  report(problem: string, error: unknown): void;
  tracing?: Tracing | undefined;
}

/** Passes of one project at once on this server; more is a mistake of a caller, and each holds a call open. */
const MOST_AT_ONCE = 64;
const PROGRESS_EVERY_MS = 500;
const DEFAULT_PRIORITY = 5;
const DEFAULT_MAX_RETRIES = 3;

/** Runs heartbeat passes, and keeps the record of each. */
export class PassService implements Service {
  readonly #settings: PassSettings;
  readonly #stopping = new AbortController();
  readonly #running = new Set<Promise<unknown>>();
  readonly #perProject = new Map<string, number>();
  #steps: readonly PassStep[] = [];

  constructor(settings: PassSettings) {
    this.#settings = settings;
  }

  async start(): Promise<void> {
    this.#steps = await this.#settings.steps();
  }

  /** Ends the steps that run; their passes are finished as errors, and their callers answered. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error("the server stops"));
    await Promise.allSettled(this.#running);
  }

  /**
   * Runs a pass; resolves to its record, whatever came of it. It goes on where its caller goes away. RESOURCE_EXHAUSTED
   * where too many of the project run.
   */
  async run(caller: Caller, agentName: string): Promise<RunRecord> {
    const { projectId } = caller;
    const count = this.#perProject.get(projectId) ?? 0;
    if (count >= MOST_AT_ONCE) {
      throw new Refusal("resource-exhausted", `${count} passes of this project are running`, {
        retryAfterMs: 1_000,
      });
    }
    this.#perProject.set(projectId, count + 1);
    const pass = this.#traced("pass", () => this.#pass(caller, agentName)).finally(() => {
      this.#running.delete(pass);
      const left = (this.#perProject.get(projectId) ?? 1) - 1;
      if (left > 0) this.#perProject.set(projectId, left);
      else this.#perProject.delete(projectId);
    });
    this.#running.add(pass);
    const run = await pass;
    await confirmCaller(this.#settings.db, caller);
    return run;
  }

  async #pass(caller: Caller, agentName: string): Promise<RunRecord> {
    const { locks } = this.#settings;
    const runId = newUuid();
    // Before the row is there: whoever sees a running run without its lock calls it interrupted.
    const lock = await locks.take(runLockKey(runId));
    if (lock === undefined) throw new Error("the lock of a new run is taken");
    try {
      return await this.#runLocked(caller, agentName, runId, lock);
    } finally {
      await lock.release();
    }
  }

  async #runLocked(caller: Caller, agentName: string, runId: string, lock: HeldLock): Promise<RunRecord> {
    const { db } = this.#settings;
    const { projectId, project, actor } = caller;
    const startedAt = await inTransaction(db, async (tx) => {
      const run = await insertRun(tx, { projectId, id: runId, agentName, actor });
      await appendRunEvent(tx, { projectId, id: runId, agentName }, "run.started", { agent: agentName });
      await confirmCaller(tx, caller);
      return run.startedAt;
    });
    const context = {
      project: { id: projectId, name: project },
      agentName,
      runId,
      actor,
      startedAt,
      ...this.#doings(caller),
    };
    const recorder = new ProgressRecorder((summary, done) =>
      writeProgress(
        db,
        projectId,
        runId,
        summary,
        done.map(({ record }) => record),
      ),
    );
    const listener: StepListener = {
      around: (step, run) => this.#traced(`step ${step}`, run),
      threw: (step, error) => this.#settings.report(`the step ${step} of a heartbeat pass threw`, error),
      progressed: (summary, done) => recorder.note(summary, done),
    };
    const stopping = AbortSignal.any([this.#stopping.signal, lock.lost]);
    const done = await runSteps(this.#steps, context, stopping, listener);
    await recorder.end();
    return await inTransaction(db, (tx) => finish(tx, { projectId, id: runId, agentName }, done));
  }

  /** A pass is part of the call that asked for it, and goes on where that ends. */
  #traced<T>(name: string, run: () => Promise<T>): Promise<T> {
    const { tracing } = this.#settings;
    return tracing === undefined ? run() : tracing.part(name, {}, run);
  }

  #doings(caller: Caller): Pick<PassContext, "createTask" | "cancelTask"> {
    const { db, tasks } = this.#settings;
    return {
      async createTask(wish) {
        const { task, changes } = await inTransaction(db, (tx) => createTask(tx, caller, taskOf(wish), ""));
        tasks.announce(changes);
        return formatId("task", task.id);
      },
      async cancelTask(task, reason) {
        const taskId = parseId("task", task);
        if (taskId === undefined) throw invalidField("task", "must be task_ and a UUID");
        const changes = await inTransaction(db, (tx) =>
          cancelIfOpen(tx, caller, taskId, reason, tasks.rules),
        );
        tasks.announce(changes);
      },
    };
  }
}

interface RunKey {
  projectId: string;
  id: string;
  agentName: string;
}

async function finish(tx: Tx, key: RunKey, done: readonly RanStep[]): Promise<RunRecord> {
  const records = done.map(({ record }) => record);
  const run = await finishRun(tx, key.projectId, key.id, concludePass(done), records);
  // Only a server that lost its lock for a while gets here: another one found the run without it.
  if (run === undefined)
    throw new Refusal("aborted", "the pass was called interrupted, since its server was away");
  await appendRunEvent(tx, key, "run.finished", endData(run));
  return run;
}

/** What the event of an ended run tells. */
export function endData({ agentName, status, summary }: RunRecord): Record<string, string> {
  return { agent: agentName, status, summary: shortText(summary) };
}

/** Appends the event of a run, under the agent where one of that name is enrolled. */
export async function appendRunEvent(
  tx: Tx,
  { projectId, id, agentName }: RunKey,
  type: "run.started" | "run.finished",
  data: Record<string, string>,
): Promise<void> {
  const agentId = await findAgentId(tx, projectId, agentName);
  await appendEvents(tx, [{ projectId, type, subject: formatId("run", id), agentId, data }]);
}

function taskOf(wish: StepTask) {
  const { kind, payload, priority = DEFAULT_PRIORITY, labels = {}, maxRetries = DEFAULT_MAX_RETRIES } = wish;
  // Whatever is no JSON is refused by fromJson.
  const value = payload === undefined ? undefined : fromJson(ValueSchema, payload as JsonValue);
  return {
    kind,
    priority,
    labels,
    maxRetries,
    payload: packJson(value),
    timeoutMs: undefined,
    notBefore: undefined,
    requirements: NO_REQUIREMENTS,
  };
}

/** Writes the newest progress, twice a second at most; a write that fails is nobody's loss. */
class ProgressRecorder {
  readonly #write: (summary: string, done: readonly RanStep[]) => Promise<void>;
  #newest: { summary: string; done: readonly RanStep[] } | undefined;
  #writing: Promise<void> = Promise.resolve();
  #writtenAt = Number.NEGATIVE_INFINITY;

  constructor(write: (summary: string, done: readonly RanStep[]) => Promise<void>) {
    this.#write = write;
  }

  note(summary: string, done: readonly RanStep[]): void {
    this.#newest = { summary, done: [...done] };
    const now = performance.now();
    if (now - this.#writtenAt < PROGRESS_EVERY_MS) return;
    this.#writtenAt = now;
    this.#flush();
  }

  async end(): Promise<void> {
    this.#newest = undefined;
    await this.#writing;
  }

  #flush(): void {
    this.#writing = this.#writing.then(async () => {
      const newest = this.#newest;
      this.#newest = undefined;
      if (newest !== undefined) await this.#write(newest.summary, newest.done).catch(() => {});
    });
  }
}
