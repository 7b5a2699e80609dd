import type { AgentCaller } from "../identity/caller.ts";
import { inCall } from "../observability/call-scope.ts";
import type { Origin, Tracing } from "../observability/tracing.ts";
import { CoalescingBatcher, type Settle } from "../runtime/coalescing-batcher.ts";
import { Refusal } from "../runtime/refusal.ts";
import type { Service } from "../runtime/service.ts";
import { DatabaseUnavailable } from "../storage/database-error.ts";

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

export interface GatheredCallsOptions<S, R> {
  /** What they are, in traces and to those who are sent away: "claims". */
  readonly words: string;
  /** Calls of one key are taken in their order, and never two at once. */
  keyOf(call: S): string;
  /** Takes calls and settles each by its place, when its answer is durable. */
  take(calls: readonly S[], settle: Settle<R>): Promise<void>;
  readonly tracing: Tracing | undefined;
}

/** Calls of agents by all doors and streams, gathered while those before them are written. */
export class GatheredCalls<S extends SentCall, R> implements Service {
  readonly #batcher: CoalescingBatcher<S, R>;
  readonly #tracing: Tracing | undefined;

  constructor({ words, keyOf, take, tracing }: GatheredCallsOptions<S, R>) {
    this.#tracing = tracing;
    const takeTraced = (calls: readonly S[], settle: Settle<R>): Promise<void> => {
      if (tracing === undefined) return take(calls, settle);
      const origins = calls.map(({ origin }) => origin);
      return tracing.together(words, origins, () => take(calls, settle));
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

  /** Resolves to the call's own answer. Throws RESOURCE_EXHAUSTED, UNAVAILABLE, and what the call is refused with. */
  async submit(call: S): Promise<R> {
    if (this.#tracing === undefined) return await this.#batcher.submit(call);
    return await this.#batcher.submit({ ...call, origin: this.#tracing.here() });
  }
}
