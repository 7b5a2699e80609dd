import type { AgentCaller } from "../identity/caller.ts";
import { unauthenticated } from "../identity/unauthenticated.ts";
import { inCall } from "../observability/call-scope.ts";
import type { Origin, Tracing } from "../observability/tracing.ts";
import { CoalescingBatcher, type Settle } from "../runtime/coalescing-batcher.ts";
import { Refusal } from "../runtime/refusal.ts";
import type { Service } from "../runtime/service.ts";
import type { Db, Tx } from "../storage/database.ts";
import { DatabaseUnavailable } from "../storage/database-error.ts";
import { takeTogether } from "./take-together.ts";
import type { TaskChange } from "./task-change.ts";

/** The first call of a batch waits so long for others, where others are to be expected. */
const GATHER_MS = 2;
const BATCH = 500;
const BATCHES_AT_ONCE = 2;
/** Some seconds' worth; who comes after them is told to come again. */
const CAPACITY = 20_000;
const RETRY_AFTER_MS = 1_000;

/** A call of an agent. */
export interface SentCall {
  readonly caller: AgentCaller;
  /** The work that it is part of, where that is traced. */
  readonly origin?: Origin | undefined;
}

/** What one transaction came to. */
export interface Taken<S, R> {
  readonly changes: readonly TaskChange[];
  /** By call; a refusal is thrown at its caller. One without an answer needs a transaction of its own. */
  readonly answers: ReadonlyMap<S, R | Refusal>;
}

export interface GatheredCallsOptions<S, R> {
  readonly db: Db;
  /** What they are, in traces and to those who are sent away: "claims". */
  readonly words: string;
  /** Calls of one key are taken in their order, and never two at once. */
  keyOf(call: S): string;
  /** Parts a batch into what one transaction takes each; left out: it takes all of it. */
  part?(calls: readonly S[]): (readonly S[])[];
  /** Takes calls in one transaction, waiting for no lock; no more of them when a token was revoked meanwhile. */
  take(tx: Tx, calls: readonly S[]): Promise<Taken<S, R>>;
  /** Hears of changes once they are committed. */
  announce(changes: readonly TaskChange[]): void;
  readonly tracing: Tracing | undefined;
}

/**
 * Calls of agents by all doors and streams, gathered while those before them are written; each is answered after the
 * commit. Every call of a batch that fails is left to whoever sent it, since that may be the fault of any.
 */
export class GatheredCalls<S extends SentCall, R> implements Service {
  readonly #batcher: CoalescingBatcher<S, R | undefined>;
  readonly #tracing: Tracing | undefined;

  constructor(options: GatheredCallsOptions<S, R>) {
    const { words, keyOf, tracing } = options;
    this.#tracing = tracing;
    const takeTraced = (calls: readonly S[], settle: Settle<R | undefined>): Promise<void> => {
      if (tracing === undefined) return takeAll(options, calls, settle);
      const origins = calls.map(({ origin }) => origin);
      return tracing.together(words, origins, () => takeAll(options, calls, settle));
    };
    this.#batcher = new CoalescingBatcher({
      keyOf,
      folds: () => false,
      flush(batch, settle) {
        const calls = batch.map(({ item }) => item);
        return inCall(undefined, () => takeTraced(calls, settle));
      },
      gatherMs: GATHER_MS,
      maxBatch: BATCH,
      maxInFlight: BATCHES_AT_ONCE,
      capacity: CAPACITY,
      overloaded: () =>
        new Refusal("resource-exhausted", `more ${words} wait than can be taken soon`, {
          retryAfterMs: RETRY_AFTER_MS,
        }),
      stopped: () => new DatabaseUnavailable("the server is stopping", "not-committed"),
    });
  }

  async start(): Promise<void> {
    await this.#batcher.start();
  }

  /** Takes what was sent. */
  async stop(): Promise<void> {
    await this.#batcher.stop();
  }

  /**
   * Resolves to the call's answer when it is durable, and to undefined where nothing was decided: the call needs a
   * transaction of its own. Throws UNAUTHENTICATED, RESOURCE_EXHAUSTED, UNAVAILABLE, and what the call is refused with.
   */
  async submit(call: S): Promise<R | undefined> {
    if (this.#tracing === undefined) return await this.#batcher.submit(call);
    return await this.#batcher.submit({ ...call, origin: this.#tracing.here() });
  }
}

async function takeAll<S extends SentCall, R>(
  { db, part = (calls) => [calls], take, announce }: GatheredCallsOptions<S, R>,
  calls: readonly S[],
  settle: Settle<R | undefined>,
): Promise<void> {
  const places = new Map(calls.map((call, place) => [call, place]));
  for (const together of part(calls)) {
    const { revoked, result } = await takeTogether(db, together, take);
    announce(result?.changes ?? []);
    for (const call of together) {
      const answer = revoked.has(call.caller) ? unauthenticated() : result?.answers.get(call);
      const outcome =
        answer instanceof Refusal ? Promise.reject(answer) : ({ kind: "done", result: answer } as const);
      settle(places.get(call) ?? -1, outcome);
    }
  }
}
