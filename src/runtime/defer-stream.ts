/**
 * A stream whose source is found when the first message is asked for. What a generator with `yield*` would do, without
 * the turns of the event loop's queue that it costs for each message. Who leaves while the source is sought, leaves it
 * as soon as it is found.
 */
export function deferStream<T>(find: () => Promise<AsyncIterable<T>>): AsyncIterable<T> {
  return { [Symbol.asyncIterator]: () => new DeferredIterator(find) };
}

class DeferredIterator<T> implements AsyncIterator<T, undefined> {
  readonly #find: () => Promise<AsyncIterable<T>>;
  #finding: Promise<AsyncIterator<T>> | undefined;
  #source: AsyncIterator<T> | undefined;
  #isOver = false;

  constructor(find: () => Promise<AsyncIterable<T>>) {
    this.#find = find;
  }

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.#isOver) return Promise.resolve({ done: true, value: undefined });
    return this.#source === undefined ? this.#first() : this.#source.next();
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    this.#isOver = true;
    await (this.#source ?? (await this.#finding?.catch(() => undefined)))?.return?.();
    return { done: true, value: undefined };
  }

  async #first(): Promise<IteratorResult<T, undefined>> {
    this.#finding ??= this.#find().then((found) => found[Symbol.asyncIterator]());
    try {
      this.#source = await this.#finding;
    } catch (error) {
      // Said once, as generators do.
      this.#isOver = true;
      throw error;
    }
    return await this.#source.next();
  }
}
