import type { Service } from "../runtime/service.ts";

/** Removes at most so many old rows; resolves to the number removed. */
export type PruneStep = (batchSize: number) => Promise<number>;

const BATCH_SIZE = 1_000;
const EVERY_MS = 60_000;

/** Removes what is old, in small batches so that no row stays locked for long: at once when started, then by the minute. */
export class Pruner implements Service {
  readonly #steps: readonly PruneStep[];
  readonly #onError: (error: unknown) => void;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(steps: readonly PruneStep[], onError: (error: unknown) => void) {
    this.#steps = steps;
    this.#onError = onError;
  }

  async start(): Promise<void> {
    const round = () => {
      this.#running = this.#running.then(() => this.#round());
    };
    round();
    this.#timer = setInterval(round, EVERY_MS);
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#timer);
    await this.#running;
  }

  async #round(): Promise<void> {
    for (const step of this.#steps) {
      try {
        while (!this.#stopped && (await step(BATCH_SIZE)) === BATCH_SIZE);
      } catch (error) {
        this.#onError(error);
      }
    }
  }
}
