import type { Readable } from "node:stream";
import type { Message } from "@bufbuild/protobuf";

/**
 * The messages of a client as they arrive: an iterator over a stream of grpc-js. Ending the iteration leaves the
 * stream alone, since a handler that stops reading has not stopped writing; aborting the signal ends it with the
 * signal's reason. Node's own iterator would do the first, but holds five times the memory while it waits.
 */
export class RequestReader implements AsyncIterableIterator<Message, undefined> {
  readonly #stream: Readable;
  readonly #decode: (bytes: Buffer) => Message;
  readonly #signal: AbortSignal;
  #waiting: (() => void)[] = [];
  #isOver = false;

  constructor(stream: Readable, decode: (bytes: Buffer) => Message, signal: AbortSignal) {
    this.#stream = stream;
    this.#decode = decode;
    this.#signal = signal;
    const wake = () => this.wake();
    stream.on("readable", wake).on("end", wake).on("close", wake);
  }

  /** Lets whoever waits for a message look again, because the signal was aborted. */
  wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  /** What is there already is given without another wait. */
  next(): Promise<IteratorResult<Message, undefined>> {
    if (!this.#isOver && !this.#signal.aborted) {
      const bytes: Buffer | null = this.#stream.read();
      if (bytes !== null) return this.#given(bytes);
    }
    return this.#await();
  }

  #given(bytes: Buffer): Promise<IteratorResult<Message, undefined>> {
    try {
      return Promise.resolve({ done: false, value: this.#decode(bytes) });
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async #await(): Promise<IteratorResult<Message, undefined>> {
    for (;;) {
      if (this.#isOver) return { done: true, value: undefined };
      this.#signal.throwIfAborted();
      const bytes: Buffer | null = this.#stream.read();
      if (bytes !== null) return { done: false, value: this.#decode(bytes) };
      if (this.#stream.readableEnded || this.#stream.destroyed) this.#isOver = true;
      else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async return(): Promise<IteratorResult<Message, undefined>> {
    this.#isOver = true;
    this.wake();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
