/** For how long a count is believed, with what was added since on top. */
const BELIEVED_MS = 60_000;
/** For how long at least nothing is counted after a count. */
const LEAST_REST_MS = 1_000;
/** Counting may take one part in so many of the time. */
const REST = 50;

/**
 * How much there is of what is dear to count, by key: counted now and then, and what was added since on top. It does not
 * see what goes away, so before somebody is refused by it, it should be counted anew.
 */
export class RunningCount {
  readonly #nowMs: () => number;
  #counted: ReadonlyMap<string, number> = new Map();
  #added = new Map<string, number>();
  #believedUntilMs = Number.NEGATIVE_INFINITY;
  #restsUntilMs = Number.NEGATIVE_INFINITY;
  #counting = false;

  /** `nowMs` is any clock that only goes forward. */
  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  get(key: string): number {
    return (this.#counted.get(key) ?? 0) + (this.#added.get(key) ?? 0);
  }

  add(key: string, amount: number): void {
    this.#added.set(key, (this.#added.get(key) ?? 0) + amount);
  }

  /** Whether it should be counted, since nobody has yet, or too long ago, and nobody does so now. */
  get isDue(): boolean {
    return this.mayCount && this.#nowMs() >= this.#believedUntilMs;
  }

  /** Whether it can be counted anew: nobody does so now, or did a moment ago. */
  get mayCount(): boolean {
    return !this.#counting && this.#nowMs() >= this.#restsUntilMs;
  }

  /** After how many whole ms it can be counted anew. */
  get restMs(): number {
    return Math.max(0, Math.ceil(this.#restsUntilMs - this.#nowMs()));
  }

  /** Counts anew by `read`; what is added meanwhile comes on top. After a failure the count before goes on. */
  async count(read: () => Promise<ReadonlyMap<string, number>>): Promise<void> {
    const beganAtMs = this.#nowMs();
    const before = this.#added;
    this.#added = new Map();
    this.#counting = true;
    try {
      this.#counted = await read();
      this.#believedUntilMs = this.#nowMs() + BELIEVED_MS;
    } catch (error) {
      const since = this.#added;
      this.#added = before;
      for (const [key, amount] of since) this.add(key, amount);
      throw error;
    } finally {
      const endedAtMs = this.#nowMs();
      this.#restsUntilMs = endedAtMs + Math.max(LEAST_REST_MS, (endedAtMs - beganAtMs) * REST);
      this.#counting = false;
    }
  }
}
