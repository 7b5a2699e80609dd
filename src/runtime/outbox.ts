interface Reader<T> {
  readonly resolve: (result: IteratorResult<T, undefined>) => void;
  readonly reject: (error: unknown) => void;
}

type End = { readonly reason: unknown; readonly failed: boolean };

/**
 * Messages on their way out of a stream, in order: bounded, so that a reader who does not read stops those who write
 * instead of filling the memory. One reader takes them by iterating.
 */
export class Outbox<T> implements AsyncIterableIterator<T, undefined> {
  readonly #capacity: number;
  readonly #waiting: T[] = [];
  #end: End | undefined;
  #reader: Reader<T> | undefined;
  #wakeWriters: (() => void)[] = [];
  readonly #onRoom: (() => void) | undefined;
  #isDone = false;
  #onDone: (() => void)[] = [];

  /** `onRoom` hears whenever there is room again after there was none. */
  constructor(capacity: number, onRoom?: () => void) {
    this.#capacity = capacity;
    this.#onRoom = onRoom;
  }

  /** How many more messages are taken without waiting; none once it is closed. */
  get room(): number {
    return this.#end === undefined ? Math.max(0, this.#capacity - this.#waiting.length) : 0;
  }

  /** What the reader has not taken yet. */
  get waiting(): readonly T[] {
    return this.#waiting;
  }

  get isClosed(): boolean {
    return this.#end !== undefined;
  }

  /** Resolves when the reader has met the end, or went away. */
  async done(): Promise<void> {
    if (!this.#isDone) await new Promise<void>((resolve) => this.#onDone.push(resolve));
  }

  /** Waits for room; false, and the message is gone, where the outbox was closed meanwhile. */
  async put(message: T): Promise<boolean> {
    while (this.#end === undefined && this.#waiting.length >= this.#capacity) {
      await new Promise<void>((resolve) => this.#wakeWriters.push(resolve));
    }
    return this.putNow(message);
  }

  /** Takes one message beyond the bound, for the few that must not wait. */
  putNow(message: T): boolean {
    if (this.#end !== undefined) return false;
    this.#waiting.push(message);
    this.#serveReader();
    return true;
  }

  /** Takes no more; the reader gets what is there and then the end, or the error. */
  close(failure?: { readonly reason: unknown }): void {
    if (this.#end !== undefined) return;
    this.#end = { reason: failure?.reason, failed: failure !== undefined };
    this.#wakeAll();
  }

  /** Ends with an error at once; gives back what was not taken and is not delivered any more. */
  abort(reason: unknown): T[] {
    const left = this.#waiting.splice(0);
    this.#end = { reason, failed: true };
    this.#wakeAll();
    return left;
  }

  /** What is there already is given without another wait, and what comes later without a turn of its own. */
  next(): Promise<IteratorResult<T, undefined>> {
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject };
      this.#serveReader();
    });
  }

  /** Gives the reader who waits, if there is one, the next message or the end, if there is either. */
  #serveReader(): void {
    const reader = this.#reader;
    if (reader === undefined || (this.#waiting.length === 0 && this.#end === undefined)) return;
    this.#reader = undefined;
    try {
      reader.resolve(this.#take() ?? this.#finish());
    } catch (error) {
      reader.reject(error);
    }
  }

  #take(): IteratorResult<T, undefined> | undefined {
    const message = this.#waiting.shift();
    if (message === undefined) return undefined;
    if (this.#waiting.length === this.#capacity - 1) this.#wakeRoom();
    return { done: false, value: message };
  }

  /** The reader goes away; what it did not take stays until `abort` asks for it. */
  async return(): Promise<IteratorResult<T, undefined>> {
    this.close();
    this.#beDone();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #finish(): IteratorResult<T, undefined> {
    const isNews = !this.#isDone;
    this.#beDone();
    // Said once, as generators do.
    if (isNews && this.#end?.failed) throw this.#end.reason;
    return { done: true, value: undefined };
  }

  #beDone(): void {
    this.#isDone = true;
    for (const resolve of this.#onDone.splice(0)) resolve();
  }

  #wakeAll(): void {
    this.#serveReader();
    this.#wakeRoom();
  }

  #wakeRoom(): void {
    const writers = this.#wakeWriters;
    this.#wakeWriters = [];
    for (const wake of writers) wake();
    if (this.#end === undefined) this.#onRoom?.();
  }
}
