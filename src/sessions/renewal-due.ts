/** An agent that was offered a new token needs a moment to take it up, and the offer stands for an hour. */
const ASK_AGAIN_AFTER_MS = 60_000;

/**
 * Whether a stream's agent is due for a new token, over the stream's life: asked of the database when the stream
 * opens and then at the moment that it named, not with every heartbeat.
 */
export class RenewalDue {
  readonly #askDueInMs: () => Promise<number | undefined>;
  #askAtMs: number;
  #isDue: boolean;

  /** `isDue` is what authentication said; `askDueInMs` resolves to the ms left, 0 if due, undefined if never. */
  constructor(isDue: boolean, askDueInMs: () => Promise<number | undefined>) {
    this.#isDue = isDue;
    this.#askDueInMs = askDueInMs;
    this.#askAtMs = performance.now();
  }

  /** Asked before each heartbeat; true makes that heartbeat's answer offer a token. Mostly known at once. */
  now(): boolean | Promise<boolean> {
    const monotonicMs = performance.now();
    if (this.#isDue) {
      this.#isDue = false;
      this.#askAtMs = monotonicMs + ASK_AGAIN_AFTER_MS;
      return true;
    }
    return monotonicMs < this.#askAtMs ? false : this.#ask();
  }

  async #ask(): Promise<boolean> {
    const dueInMs = (await this.#askDueInMs()) ?? Number.POSITIVE_INFINITY;
    this.#askAtMs = performance.now() + (dueInMs > 0 ? dueInMs : ASK_AGAIN_AFTER_MS);
    return dueInMs <= 0;
  }
}
