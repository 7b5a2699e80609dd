import type { Service } from "./service.ts";

/**
 * Does something again and again: at once when started, then so many ms after it ended the last time, so that a slow
 * round is never overtaken by the next. A round that fails is reported and does not end the row.
 */
export class Periodic implements Service {
  readonly #pauseMs: number;
  readonly #round: (stopping: AbortSignal) => Promise<void>;
  readonly #onError: (error: unknown) => void;
  readonly #stopping = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();

  /** A round's signal is aborted when it should come to an end. */
  constructor(
    pauseMs: number,
    round: (stopping: AbortSignal) => Promise<void>,
    onError: (error: unknown) => void,
  ) {
    this.#pauseMs = pauseMs;
    this.#round = round;
    this.#onError = onError;
  }

  async start(): Promise<void> {
    this.#begin();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    clearTimeout(this.#timer);
    await this.#running;
  }

  #begin(): void {
    this.#running = this.#round(this.#stopping.signal)
      .catch(this.#onError)
      .then(() => {
        if (this.#stopping.signal.aborted) return;
        this.#timer = setTimeout(() => this.#begin(), this.#pauseMs);
        this.#timer.unref();
      });
  }
}
