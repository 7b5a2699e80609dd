import type { AgentCaller } from "../identity/caller.ts";
import { unauthenticated } from "../identity/unauthenticated.ts";
import { inCall } from "../observability/call-scope.ts";
import type { Origin, Tracing } from "../observability/tracing.ts";
import { type Batched, CoalescingBatcher, type Settle } from "../runtime/coalescing-batcher.ts";
import { Refusal } from "../runtime/refusal.ts";
import type { Service } from "../runtime/service.ts";
import type { Db, Tx } from "../storage/database.ts";
import { DatabaseUnavailable } from "../storage/database-error.ts";
import { type Completed, type Completion, completeLoans } from "./completion-store.ts";
import { takeTogether } from "./take-together.ts";
import { recordAllChanges, type TaskChange } from "./task-change.ts";
import type { TaskRecord } from "./task-store.ts";

/** The first completion of a batch waits so long for others, where others are to be expected. */
const GATHER_MS = 2;
const BATCH = 500;
const BATCHES_AT_ONCE = 2;
/** Some seconds' worth; who comes after them is told to come again. */
const CAPACITY = 20_000;
const RETRY_AFTER_MS = 1_000;
/** A larger result or payload travels by itself, so that a batch stays within some megabytes. */
const MOST_BYTES = 16 * 1024;

/** An agent's word that a task of its own is done. */
export interface SentCompletion extends Completion {
  readonly caller: AgentCaller;
  /** The work that it is part of, where that is traced. */
  readonly origin?: Origin | undefined;
}

type Taken = { changes: TaskChange[]; tasks: Map<SentCompletion, TaskRecord> };

/**
 * Writes results of all doors and streams, gathered in batches; each is answered after the commit that holds it. It
 * takes nearly all of them, and nothing where there is something to decide: whoever sent such a one takes it by itself.
 */
export class CompletionWriter implements Service {
  readonly #db: Db;
  readonly #announce: (changes: readonly TaskChange[]) => void;
  readonly #tracing: Tracing | undefined;
  readonly #batcher: CoalescingBatcher<SentCompletion, TaskRecord | undefined>;

  /** `announce` hears of changes once they are committed. */
  constructor(db: Db, announce: (changes: readonly TaskChange[]) => void, tracing?: Tracing) {
    this.#db = db;
    this.#tracing = tracing;
    this.#announce = announce;
    this.#batcher = new CoalescingBatcher({
      keyOf: ({ key }) => key.taskId,
      folds: () => false,
      flush: (batch, settle) => inCall(undefined, () => this.#flushTraced(batch, settle)),
      gatherMs: GATHER_MS,
      maxBatch: BATCH,
      maxInFlight: BATCHES_AT_ONCE,
      capacity: CAPACITY,
      overloaded: () =>
        new Refusal("resource-exhausted", "more results wait than can be written soon", {
          retryAfterMs: RETRY_AFTER_MS,
        }),
      stopped: () => new DatabaseUnavailable("the server is stopping", "not-committed"),
    });
  }

  async start(): Promise<void> {
    await this.#batcher.start();
  }

  /** Writes what was taken. */
  async stop(): Promise<void> {
    await this.#batcher.stop();
  }

  /**
   * Resolves to the task when its end is durable, and to undefined where nothing was written because it is no plain case.
   * Throws UNAUTHENTICATED, RESOURCE_EXHAUSTED, UNAVAILABLE.
   */
  async submit(completion: SentCompletion): Promise<TaskRecord | undefined> {
    if ((completion.result?.bytes ?? 0) > MOST_BYTES) return undefined;
    if (this.#tracing === undefined) return await this.#batcher.submit(completion);
    return await this.#batcher.submit({ ...completion, origin: this.#tracing.here() });
  }

  #flushTraced(
    batch: readonly Batched<SentCompletion>[],
    settle: Settle<TaskRecord | undefined>,
  ): Promise<void> {
    if (this.#tracing === undefined) return this.#flush(batch, settle);
    const origins = batch.map(({ item }) => item.origin);
    return this.#tracing.together("completions", origins, () => this.#flush(batch, settle));
  }

  async #flush(
    batch: readonly Batched<SentCompletion>[],
    settle: Settle<TaskRecord | undefined>,
  ): Promise<void> {
    const sent = batch.map(({ item }) => item);
    const { revoked, result } = await takeTogether(this.#db, sent, takeAll);
    this.#announce(result?.changes ?? []);
    for (const [place, completion] of sent.entries()) {
      if (revoked.has(completion.caller)) settle(place, Promise.reject(unauthenticated()));
      else settle(place, { kind: "done", result: result?.tasks.get(completion) });
    }
  }
}

async function takeAll(tx: Tx, sent: readonly SentCompletion[]): Promise<Taken> {
  const completed = sent.length === 0 ? NONE_COMPLETED : await completeLoans(tx, sent, MOST_BYTES);
  const taken = sent.flatMap((completion, place) => {
    const one = completed.get(place);
    return one === undefined ? [] : [{ completion, ...one }];
  });
  const sets = taken.map(({ completion, task, from }) => ({
    changes: [successOf(completion, task, from)],
    origin: completion.caller,
  }));
  await recordAllChanges(tx, sets);
  return {
    changes: sets.flatMap(({ changes }) => changes),
    tasks: new Map(taken.map(({ completion, task }) => [completion, task])),
  };
}

const NONE_COMPLETED: ReadonlyMap<number, Completed> = new Map();

/** The fact that a task succeeded. */
export function successOf({ key }: Completion, { kind }: TaskRecord, from: Completed["from"]): TaskChange {
  return { ...key, kind, reason: "", dueInMs: undefined, type: "task.succeeded", from, to: "succeeded" };
}
