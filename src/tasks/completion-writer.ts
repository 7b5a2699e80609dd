import { unauthenticated } from "../identity/unauthenticated.ts";
import type { Tracing } from "../observability/tracing.ts";
import type { Service } from "../runtime/service.ts";
import type { Db, Tx } from "../storage/database.ts";
import { type Completed, type Completion, completeLoans } from "./completion-store.ts";
import { GatheredCalls, type SentCall } from "./gathered-calls.ts";
import { takeTogether } from "./take-together.ts";
import { recordAllChanges, type TaskChange } from "./task-change.ts";
import type { TaskRecord } from "./task-store.ts";

/** A larger result or payload travels by itself, so that a batch stays within some megabytes. */
const MOST_BYTES = 16 * 1024;

/** An agent's word that a task of its own is done. */
export type SentCompletion = Completion & SentCall;

type Taken = { changes: TaskChange[]; tasks: Map<SentCompletion, TaskRecord> };

/**
 * Writes results of all doors and streams, gathered in batches; each is answered after the commit that holds it. It
 * takes nearly all of them, and nothing where there is something to decide: whoever sent such a one takes it by itself.
 */
export class CompletionWriter implements Service {
  readonly #calls: GatheredCalls<SentCompletion, TaskRecord | undefined>;

  /** `announce` hears of changes once they are committed. */
  constructor(db: Db, announce: (changes: readonly TaskChange[]) => void, tracing?: Tracing) {
    this.#calls = new GatheredCalls({
      words: "completions",
      keyOf: ({ key }) => key.taskId,
      async take(sent, settle) {
        const { revoked, result } = await takeTogether(db, sent, takeAll);
        announce(result?.changes ?? []);
        for (const [place, completion] of sent.entries()) {
          if (revoked.has(completion.caller)) settle(place, Promise.reject(unauthenticated()));
          else settle(place, { kind: "done", result: result?.tasks.get(completion) });
        }
      },
      tracing,
    });
  }

  async start(): Promise<void> {
    await this.#calls.start();
  }

  async stop(): Promise<void> {
    await this.#calls.stop();
  }

  /**
   * Resolves to the task when its end is durable, and to undefined where nothing was written because it is no plain case.
   * Throws UNAUTHENTICATED, RESOURCE_EXHAUSTED, UNAVAILABLE.
   */
  async submit(completion: SentCompletion): Promise<TaskRecord | undefined> {
    if ((completion.result?.bytes ?? 0) > MOST_BYTES) return undefined;
    return await this.#calls.submit(completion);
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
