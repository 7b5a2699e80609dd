import type { Readable } from "node:stream";
import type { Message } from "@bufbuild/protobuf";

interface Waiter {
  readonly resolve: (result: IteratorResult<Message, undefined>) => void;
  readonly reject: (error: unknown) => void;
}

const OVER = { done: true, value: undefined } as const;

/**
 * The messages of a client as they arrive: an iterator over a stream of grpc-js. Ending the iteration leaves the
 * stream alone, since a handler that stops reading has not stopped writing; aborting the signal ends it with the
 * signal's reason. Node's own iterator would do the first, but holds five times the memory while it waits.
 */
export class RequestReader implements AsyncIterableIterator<Message, undefined> {
  readonly #stream: Readable;
  readonly #decode: (bytes: Buffer) => Message;
  readonly #signal: AbortSignal;
  readonly #waiting: Waiter[] = [];
  #isOver = false;

  constructor(stream: Readable, decode: (bytes: Buffer) => Message, signal: AbortSignal) {
    this.#stream = stream;
    this.#decode = decode;
    this.#signal = signal;
    const wake = () => this.wake();
    stream.on("readable", wake).on("end", wake).on("close", wake);
  }

  /** Lets whoever waits for a message look again, because one came or the signal was aborted. */
  wake(): void {
    for (;;) {
      const [first] = this.#waiting;
      if (first === undefined) return;
      try {
        const result = this.#look();
        if (result === undefined) return;
        this.#waiting.shift();
        first.resolve(result);
      } catch (error) {
        this.#waiting.shift();
        first.reject(error);
      }
    }
  }

  /** What is there already is given without another wait, and what comes later without a turn of its own. */
  next(): Promise<IteratorResult<Message, undefined>> {
    return new Promise((resolve, reject) => {
      const result = this.#waiting.length === 0 ? this.#look() : undefined;
      if (result === undefined) this.#waiting.push({ resolve, reject });
      else resolve(result);
    });
  }

  /** The next message, or the end; undefined where neither is there yet. */
  #look(): IteratorResult<Message, undefined> | undefined {
    if (this.#isOver) return OVER;
    this.#signal.throwIfAborted();
    const bytes: Buffer | null = this.#stream.read();
    if (bytes !== null) return { done: false, value: this.#decode(bytes) };
    if (!this.#stream.readableEnded && !this.#stream.destroyed) return undefined;
    this.#isOver = true;
    return OVER;
  }

  async return(): Promise<IteratorResult<Message, undefined>> {
    this.#isOver = true;
    this.wake();
    return OVER;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
