import { setTimeout as delay } from "node:timers/promises";
import { type AroundRound, unwatched } from "../runtime/round.ts";
import type { Service } from "../runtime/service.ts";
import type { Database } from "../storage/database.ts";
import { LeaderLock } from "../storage/leader-lock.ts";
import { numberEvents } from "./event-store.ts";

/** Any constant that no other advisory lock in the database uses. */
const LOCK_KEY = 7_264_313_004n;
const BATCH_SIZE = 2_000;
const BUSY_PAUSE_MS = 20;
/** An idle database is asked less often: an event may wait so much longer for its number. */
const IDLE_PAUSE_MS = 50;
const IDLE_AFTER_ROUNDS = 100;
/** How often others try to take over; with the silence after which a lock is lost it makes less than 5 s. */
const FOLLOWER_PAUSE_MS = 250;

export interface SequencerListener {
  /** Events have got their numbers; committed. */
  numbered(count: number): void;
  /** A round failed; the next one tries it again. */
  failed(error: unknown): void;
}

/** What a sequencer has done in this process. */
export interface SequencerState {
  readonly leading: boolean;
  /** Events that it has numbered. */
  readonly numbered: number;
  /** How long the oldest event of its newest batch had waited, in ms. */
  readonly lagMs: number;
}

/**
 * Gives committed events their numbers. Ids are drawn in one order and committed in another: only where one alone numbers
 * what it sees committed, in the order of ids, does the stream have neither gaps nor effects before their causes. Of all
 * servers on a database one at a time does so, through the connection that holds the lock: the lock is taken in a
 * statement of its own, before the snapshot that the numbering sees, and who has lost it has nothing to write through.
 */
export class EventSequencer implements Service {
  readonly #lock: LeaderLock;
  readonly #listener: SequencerListener;
  readonly #around: AroundRound;
  readonly #stopping = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #state: SequencerState = { leading: false, numbered: 0, lagMs: 0 };

  constructor(database: Database, listener: SequencerListener, around: AroundRound = unwatched) {
    this.#around = around;
    this.#lock = new LeaderLock(database, LOCK_KEY);
    this.#listener = listener;
  }

  get state(): SequencerState {
    return this.#state;
  }

  async start(): Promise<void> {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    await this.#lock.release();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    let idleRounds = 0;
    while (!signal.aborted) {
      const count = await this.#round();
      idleRounds = count > 0 ? 0 : idleRounds + 1;
      if (count === BATCH_SIZE) continue;
      await delay(this.#pauseMs(idleRounds), undefined, { signal, ref: false }).catch(() => undefined);
    }
  }

  #pauseMs(idleRounds: number): number {
    if (!this.#state.leading) return FOLLOWER_PAUSE_MS;
    return idleRounds > IDLE_AFTER_ROUNDS ? IDLE_PAUSE_MS : BUSY_PAUSE_MS;
  }

  /** Resolves to how many events got their numbers. */
  async #round(): Promise<number> {
    try {
      return await this.#around(() => this.#number());
    } catch (error) {
      this.#state = { ...this.#state, leading: false };
      this.#listener.failed(error);
      return 0;
    }
  }

  async #number(): Promise<number> {
    const db = await this.#lock.seize();
    if (db === undefined) {
      this.#state = { ...this.#state, leading: false };
      return 0;
    }
    const { count, lagMs } = await numberEvents(db, BATCH_SIZE);
    this.#state = { leading: true, numbered: this.#state.numbered + count, lagMs };
    if (count > 0) this.#listener.numbered(count);
    return count;
  }
}
