import type { Service } from "./service.ts";

/** One place in a batch: an item, or several of one key that the newest stands for. */
export interface Batched<T> {
  readonly item: T;
  /** Older items of the same key that this one stands for, the oldest first. */
  readonly folded: readonly T[];
}

/** What becomes of a place: its result, or `apart` where its folded items have to be taken one at a time. */
export type Outcome<R> = { readonly kind: "done"; readonly result: R } | { readonly kind: "apart" };

/** Settles the place of a batch, at once or when the promise is fulfilled. */
export type Settle<R> = (place: number, outcome: Outcome<R> | Promise<Outcome<R>>) => void;

export interface BatcherOptions<T, R> {
  /** Items of one key are taken in their order, and never two at once. */
  keyOf(item: T): string;
  /** Whether the later of two neighbours of a key stands for both, if it turns out that neither changes anything. */
  folds(earlier: T, later: T): boolean;
  /**
   * Takes a batch, which has every key at most once. Resolves when the next batch may begin; a place that is settled by a
   * promise may take longer, and keeps its key waiting for as long.
   */
  flush(batch: readonly Batched<T>[], settle: Settle<R>): Promise<void>;
  /** How long the first item of a batch waits for others, in ms, where others are to be expected. */
  readonly gatherMs: number;
  readonly maxBatch: number;
  readonly maxInFlight: number;
  /** Items that may wait or be under way; more are refused with what `overloaded` makes. */
  readonly capacity: number;
  overloaded(): Error;
  stopped(): Error;
}

interface Entry<T, R> {
  readonly item: T;
  readonly resolve: (result: R) => void;
  readonly reject: (error: unknown) => void;
  /** It was folded in vain, and stands for itself alone from now on. */
  apart: boolean;
}

/** The items of one key, in order. A key is ready, under way, or gone. */
interface Line<T, R> {
  readonly key: string;
  readonly waiting: Entry<T, R>[];
}

const NOTHING: readonly never[] = [];
/** After a batch that was smaller, few others are to be expected: it would be waiting for nobody. */
const WORTH_GATHERING = 8;

/**
 * Gathers items from many callers and takes them in batches: by time and by size, few at once, each caller answered for
 * its own item. What waits is bounded.
 */
export class CoalescingBatcher<T, R> implements Service {
  readonly #options: BatcherOptions<T, R>;
  readonly #lines = new Map<string, Line<T, R>>();
  #ready: Line<T, R>[] = [];
  #count = 0;
  #inFlight = 0;
  /** Undefined while no flush is to come by itself. */
  #cancelFlush: (() => void) | undefined;
  #lastBatch = 0;
  #isStopping = false;
  #onEmpty: (() => void) | undefined;

  constructor(options: BatcherOptions<T, R>) {
    this.#options = options;
  }

  async start(): Promise<void> {}

  /** How many items wait or are under way. */
  get size(): number {
    return this.#count;
  }

  /** Takes no more, and resolves when everything that was taken has its answer. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    if (this.#count === 0) return;
    const empty = new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
    this.#flushReady();
    await empty;
  }

  /** Resolves to the item's own result. Rejects where too many wait, and with whatever its batch met. */
  submit(item: T): Promise<R> {
    if (this.#isStopping) return Promise.reject(this.#options.stopped());
    if (this.#count >= this.#options.capacity) return Promise.reject(this.#options.overloaded());
    this.#count += 1;
    return new Promise<R>((resolve, reject) => this.#add({ item, resolve, reject, apart: false }));
  }

  #add(entry: Entry<T, R>): void {
    const key = this.#options.keyOf(entry.item);
    const line = this.#lines.get(key);
    if (line !== undefined) {
      line.waiting.push(entry);
      return;
    }
    const fresh: Line<T, R> = { key, waiting: [entry] };
    this.#lines.set(key, fresh);
    this.#beReady(fresh);
  }

  #beReady(line: Line<T, R>): void {
    this.#ready.push(line);
    if (this.#inFlight >= this.#options.maxInFlight) return;
    if (this.#isStopping || this.#ready.length >= this.#options.maxBatch) this.#flushReady();
    else this.#cancelFlush ??= this.#flushSoon();
  }

  #flushSoon(): () => void {
    const flush = () => this.#flushReady();
    if (this.#lastBatch < WORTH_GATHERING) {
      const immediate = setImmediate(flush);
      return () => clearImmediate(immediate);
    }
    const timer = setTimeout(flush, this.#options.gatherMs);
    return () => clearTimeout(timer);
  }

  #flushReady(): void {
    this.#cancelFlush?.();
    this.#cancelFlush = undefined;
    while (this.#ready.length > 0 && this.#inFlight < this.#options.maxInFlight) {
      void this.#fly(this.#ready.splice(0, this.#options.maxBatch));
    }
  }

  async #fly(lines: readonly Line<T, R>[]): Promise<void> {
    this.#inFlight += 1;
    this.#lastBatch = lines.length;
    const taken = lines.map((line) => this.#takeHead(line));
    const batch = taken.map(batchedOf);
    const settled: boolean[] = [];
    try {
      await this.#options.flush(batch, (place, outcome) => {
        settled[place] = true;
        this.#settle(lines[place], taken[place], outcome);
      });
    } catch (error) {
      for (const [place, entries] of taken.entries()) {
        const line = lines[place];
        if (!settled[place] && line !== undefined) this.#fail(line, entries, error);
      }
    }
    this.#inFlight -= 1;
    // While it was away enough time went by to gather.
    this.#flushReady();
  }

  /** The head of a line and those behind it that fold into one. */
  #takeHead({ waiting }: Line<T, R>): Entry<T, R>[] {
    let count = 1;
    while (count < waiting.length && this.#mayFold(waiting[count - 1], waiting[count])) count += 1;
    return waiting.splice(0, count);
  }

  #mayFold(earlier: Entry<T, R> | undefined, later: Entry<T, R> | undefined): boolean {
    if (earlier === undefined || later === undefined || earlier.apart || later.apart) return false;
    return this.#options.folds(earlier.item, later.item);
  }

  #settle(
    line: Line<T, R> | undefined,
    entries: Entry<T, R>[] | undefined,
    outcome: Outcome<R> | Promise<Outcome<R>>,
  ): void {
    if (line === undefined || entries === undefined) return;
    if ("kind" in outcome) this.#reach(line, entries, outcome);
    else
      outcome.then(
        (reached) => this.#reach(line, entries, reached),
        (error: unknown) => this.#fail(line, entries, error),
      );
  }

  #reach(line: Line<T, R>, entries: Entry<T, R>[], outcome: Outcome<R>): void {
    if (outcome.kind === "apart") {
      for (const entry of entries) entry.apart = true;
      line.waiting.unshift(...entries);
    } else {
      this.#count -= entries.length;
      for (const { resolve } of entries) resolve(outcome.result);
    }
    this.#free(line);
  }

  #fail(line: Line<T, R>, entries: Entry<T, R>[], error: unknown): void {
    this.#count -= entries.length;
    for (const { reject } of entries) reject(error);
    this.#free(line);
  }

  #free(line: Line<T, R>): void {
    if (line.waiting.length > 0) this.#beReady(line);
    else this.#lines.delete(line.key);
    if (this.#count === 0) this.#onEmpty?.();
  }
}

function batchedOf<T, R>(entries: readonly Entry<T, R>[]): Batched<T> {
  const last = entries.at(-1);
  if (last === undefined) throw new Error("a line without items was taken");
  return {
    item: last.item,
    folded: entries.length === 1 ? NOTHING : entries.slice(0, -1).map(({ item }) => item),
  };
}
