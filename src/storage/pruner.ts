import { sql } from "drizzle-orm";
import { Periodic } from "../runtime/periodic.ts";
import { type AroundRound, unwatched } from "../runtime/round.ts";
import type { Service } from "../runtime/service.ts";
import type { Database, Db } from "./database.ts";
import { LeaderLock } from "./leader-lock.ts";

/** Removes at most so many old rows; resolves to the number removed. */
export type PruneStep = (db: Db, batchSize: number) => Promise<number>;

/** Any constant that no other advisory lock in the database uses. */
const LOCK_KEY = 7_264_313_003n;
const BATCH_SIZE = 1_000;
const LONGEST_PAUSE_MS = 60_000;
/** How often the lock is tried for, or its connection kept from being ended as silent. */
const LOOK_EVERY_MS = 1_000;

/**
 * Removes what is old, in small batches so that no row stays locked for long: at once when it takes the lock, then by the
 * minute, or sooner where something is kept for less. Of all servers on a database one at a time does so, through the connection that holds the lock.
 */
export class Pruner implements Service {
  readonly #steps: readonly PruneStep[];
  readonly #onError: (error: unknown) => void;
  readonly #lock: LeaderLock;
  readonly #rounds: Periodic;
  readonly #pauseMs: number;
  readonly #around: AroundRound;
  #dueAtMs = Number.NEGATIVE_INFINITY;

  /** `shortestAgeMs`: what is kept so briefly is looked for as often. */
  constructor(
    database: Database,
    steps: readonly PruneStep[],
    onError: (error: unknown) => void,
    shortestAgeMs = LONGEST_PAUSE_MS,
    around: AroundRound = unwatched,
  ) {
    this.#around = around;
    this.#steps = steps;
    this.#pauseMs = Math.min(LONGEST_PAUSE_MS, shortestAgeMs);
    this.#onError = onError;
    this.#lock = new LeaderLock(database, LOCK_KEY);
    this.#rounds = new Periodic(LOOK_EVERY_MS, (stopping) => this.#round(stopping), onError);
  }

  async start(): Promise<void> {
    await this.#rounds.start();
  }

  async stop(): Promise<void> {
    await this.#rounds.stop();
    await this.#lock.release();
  }

  async #round(stopping: AbortSignal): Promise<void> {
    const db = await this.#lock.seize();
    if (db === undefined) {
      // Whoever takes over begins at once: nobody knows how far the one before came.
      this.#dueAtMs = Number.NEGATIVE_INFINITY;
      return;
    }
    if (performance.now() < this.#dueAtMs) {
      await db.execute(sql`SELECT 1`);
      return;
    }
    this.#dueAtMs = performance.now() + this.#pauseMs;
    await this.#around(async () => {
      let removed = 0;
      for (const step of this.#steps) removed += await this.#prune(db, step, stopping);
      return removed;
    });
  }

  /** What one step cannot remove keeps no other from its work. Resolves to how much was removed. */
  async #prune(db: Db, step: PruneStep, stopping: AbortSignal): Promise<number> {
    let removed = 0;
    try {
      for (let batch = BATCH_SIZE; batch === BATCH_SIZE && !stopping.aborted; removed += batch)
        batch = await step(db, BATCH_SIZE);
    } catch (error) {
      this.#onError(error);
    }
    return removed;
  }
}
