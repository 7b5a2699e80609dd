import type { Tracing } from "../observability/tracing.ts";
import type { Db, Tx } from "../storage/database.ts";
import { type Completed, type Completion, completeLoans } from "./completion-store.ts";
import { GatheredCalls, type SentCall } from "./gathered-calls.ts";
import { recordAllChanges, type TaskChange } from "./task-change.ts";
import type { TaskRecord } from "./task-store.ts";

/** A larger result or payload travels by itself, so that a batch stays within some megabytes. */
const MOST_BYTES = 16 * 1024;

/** An agent's word that a task of its own is done. */
export type SentCompletion = Completion & SentCall;

/**
 * Writes results of all doors and streams. It takes nearly all of them, and nothing where there is something to decide:
 * whoever sent such a one takes it by itself.
 */
export class CompletionWriter extends GatheredCalls<SentCompletion, TaskRecord> {
  /** `announce` hears of changes once they are committed. */
  constructor(db: Db, announce: (changes: readonly TaskChange[]) => void, tracing?: Tracing) {
    super({
      db,
      words: "completions",
      keyOf: ({ key }) => key.taskId,
      take: completeAll,
      announce,
      tracing,
    });
  }

  override async submit(completion: SentCompletion): Promise<TaskRecord | undefined> {
    if ((completion.result?.bytes ?? 0) > MOST_BYTES) return undefined;
    return await super.submit(completion);
  }
}

async function completeAll(tx: Tx, sent: readonly SentCompletion[]) {
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
    answers: new Map(taken.map(({ completion, task }) => [completion, task])),
  };
}

const NONE_COMPLETED: ReadonlyMap<number, Completed> = new Map();

/** The fact that a task succeeded. */
export function successOf({ key }: Completion, { kind }: TaskRecord, from: Completed["from"]): TaskChange {
  return { ...key, kind, reason: "", dueInMs: undefined, type: "task.succeeded", from, to: "succeeded" };
}
