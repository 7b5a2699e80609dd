/**
 * A few lanes that take what waits, in order and in sets of a bounded size: one that stands still holds up its own set
 * alone, as long as there is another lane.
 */
export class Lanes<T> {
  readonly #width: number;
  readonly #most: number;
  readonly #take: (some: readonly T[]) => Promise<void>;
  readonly #waiting: T[] = [];
  #busy = 0;

  /** `take` gets at most so many at a time, and must not reject. */
  constructor(width: number, most: number, take: (some: readonly T[]) => Promise<void>) {
    this.#width = width;
    this.#most = most;
    this.#take = take;
  }

  add(some: readonly T[]): void {
    this.#waiting.push(...some);
    while (this.#busy < this.#width && this.#waiting.length > 0) void this.#drive();
  }

  async #drive(): Promise<void> {
    this.#busy += 1;
    while (this.#waiting.length > 0) await this.#take(this.#waiting.splice(0, this.#most));
    this.#busy -= 1;
  }
}
