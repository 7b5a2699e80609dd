import type { Service } from "../runtime/service.ts";
import { type Db, inTransaction, type Tx } from "../storage/database.ts";
import { type GiveBackSettings, returnExpiredLeases, timeOutAttempts } from "./give-back.ts";
import type { TaskChange } from "./task-change.ts";

const EVERY_MS = 1_000;
/** Tasks of one transaction: small, so that no row is locked for long. */
const BATCH = 200;

export interface SweeperOptions {
  giveBack: GiveBackSettings;
  /** For how long after the start no lease is called ended: agents could not renew any while no server was there. */
  graceMs: number;
  /** Hears of committed changes. */
  announce: (changes: TaskChange[]) => void;
  onError: (error: unknown) => void;
}

/**
 * Takes back tasks whose lease a living agent let end, and ends attempts that run too long. Any number of servers may do
 * so at once: each skips what another one has locked.
 */
export class TaskSweeper implements Service {
  readonly #db: Db;
  readonly #options: SweeperOptions;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(db: Db, options: SweeperOptions) {
    this.#db = db;
    this.#options = options;
  }

  async start(): Promise<void> {
    this.#wait(this.#options.graceMs);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  /** One round: until nothing is left, or the sweeper is stopped. */
  async sweep(): Promise<void> {
    const { giveBack } = this.#options;
    await this.#drain((tx) => timeOutAttempts(tx, BATCH, giveBack));
    await this.#drain((tx) => returnExpiredLeases(tx, BATCH, giveBack));
  }

  async #drain(step: (tx: Tx) => Promise<TaskChange[]>): Promise<void> {
    while (!this.#stopped) {
      const changes = await inTransaction(this.#db, step);
      this.#options.announce(changes);
      // A task that could not even be set aside would be found again and again; the next round tries it once more.
      if (changes.filter(({ type }) => type !== "task.stuck").length < BATCH) return;
    }
  }

  // A round after the other, never two at once: a slow database must not collect them.
  #wait(delayMs: number): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#running = this.sweep()
        .catch(this.#options.onError)
        .then(() => this.#wait(EVERY_MS));
    }, delayMs);
    this.#timer.unref();
  }
}
