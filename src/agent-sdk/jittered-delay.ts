import { ExponentialBackoff, type IBackoff } from "cockatiel";

/** Delays that grow and differ from agent to agent, so that a fleet that lost its server does not come back as one. */
export class JitteredDelay {
  readonly #backoffs: ExponentialBackoff<undefined>;
  #backoff: IBackoff<undefined> | undefined;

  /** About the first delay, and the longest, in milliseconds. */
  constructor(firstMs: number, longestMs: number) {
    // Its default is a decorrelated jitter.
    this.#backoffs = new ExponentialBackoff<undefined>({ initialDelay: firstMs, maxDelay: longestMs });
  }

  nextMs(): number {
    this.#backoff = this.#backoff === undefined ? this.#backoffs.next() : this.#backoff.next(undefined);
    return this.#backoff.duration;
  }

  /** It worked: the next trouble is a new one. */
  reset(): void {
    this.#backoff = undefined;
  }
}
