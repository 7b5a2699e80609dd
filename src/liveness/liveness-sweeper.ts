import type { CordonChange } from "../agents/cordon-service.ts";
import { Periodic } from "../runtime/periodic.ts";
import { type AroundRound, unwatched } from "../runtime/round.ts";
import type { Service } from "../runtime/service.ts";
import { type Database, type Db, inTransaction, type Tx } from "../storage/database.ts";
import { LeaderLock } from "../storage/leader-lock.ts";
import type { GiveBackSettings } from "../tasks/give-back.ts";
import type { TaskChange } from "../tasks/task-change.ts";
import type { BrakeChange } from "./apply-brakes.ts";
import type { BrakeSettings } from "./decide-brake.ts";
import { maySomeoneBeDue, type Watch } from "./decide-liveness.ts";
import { endDrains } from "./end-drains.ts";
import { keepWatch } from "./keep-watch.ts";
import { findSilent } from "./liveness-store.ts";
import { type CommittedLoss, markSilent } from "./mark-silent.ts";
import { takeBack } from "./take-back.ts";
import { type LivenessThresholds, offlineAfterMs, staleAfterMs } from "./thresholds.ts";

export interface SweeperOptions {
  /** With the interval that agents are told while the fleet is small. */
  thresholds: LivenessThresholds;
  /** The longest interval that some agent may go by, in ms; undefined: none but the usual one. */
  readLongestInterval(db: Db): Promise<number | undefined>;
  brake: BrakeSettings;
  giveBack: GiveBackSettings;
  listener: SweepListener;
  around?: AroundRound | undefined;
}

export interface SweepListener {
  /** An agent was called offline; committed. */
  lost(loss: CommittedLoss): void;
  /** Tasks were taken back; committed. */
  tasksChanged(changes: TaskChange[]): void;
  /** Agents were cordoned: their drains came to an end, or they failed too many tasks in a row; committed. */
  cordoned(changes: readonly CordonChange[]): void;
  /** Because of a mass loss tasks go back more slowly than before, or again as fast as they should; committed. */
  braked(change: BrakeChange): void;
  /** A round has ended; it took so many seconds. */
  swept?(seconds: number): void;
  /** A round failed; the next one tries it again. */
  failed(error: unknown): void;
}

/** Any constant that no other advisory lock in the database uses. */
const LOCK_KEY = 7_264_313_002n;
/** Agents of one transaction: a heartbeat of one of them waits for as long as that takes, which is a few ms. */
const AGENTS_AT_ONCE = 100;
const AGENTS_PER_ROUND = 10_000;
const LONGEST_PAUSE_MS = 1_000;
const SHORTEST_PAUSE_MS = 100;
/** Rounds may be late by as much as this before it counts as a break in the watch. */
const SHORTEST_BREAK_MS = 1_000;

/**
 * Looks for agents that fell silent, by the database's clock, and takes tasks back from those that are gone or let a
 * lease end. Of all servers on a database one at a time does so.
 */
export class LivenessSweeper implements Service {
  readonly #options: SweeperOptions;
  readonly #lock: LeaderLock;
  readonly #rounds: Periodic;
  readonly #toleranceMs: number;
  readonly #around: AroundRound;
  /** With the longest interval that some agent goes by: no agent that does as it was told is ever called silent. */
  #thresholds: LivenessThresholds;
  /** By the newest watch; no agent is looked at before the first. */
  #someoneMayBeDue = false;

  constructor(database: Database, options: SweeperOptions) {
    this.#options = options;
    this.#thresholds = options.thresholds;
    this.#lock = new LeaderLock(database, LOCK_KEY);
    // With an interval of a second, a pause of a second would double the time to find a loss.
    const pauseMs = options.thresholds.intervalMs / 5;
    const boundedMs = Math.min(LONGEST_PAUSE_MS, Math.max(SHORTEST_PAUSE_MS, pauseMs));
    this.#toleranceMs = Math.max(SHORTEST_BREAK_MS, 3 * boundedMs);
    this.#rounds = new Periodic(boundedMs, (stopping) => this.#round(stopping), options.listener.failed);
    this.#around = options.around ?? unwatched;
  }

  async start(): Promise<void> {
    await this.#rounds.start();
  }

  async stop(): Promise<void> {
    await this.#rounds.stop();
    await this.#lock.release();
  }

  async #round(stopping: AbortSignal): Promise<void> {
    await this.#around(() => this.#sweep(stopping));
  }

  /** Resolves to how many agents and tasks changed. */
  async #sweep(stopping: AbortSignal): Promise<number> {
    // Everything goes through the connection that holds the lock: who has lost it can write nothing any more.
    const db = await this.#lock.seize();
    if (db === undefined) return 0;
    const { thresholds, readLongestInterval, listener } = this.#options;
    const beganMs = performance.now();
    const intervalMs = Math.max(thresholds.intervalMs, (await readLongestInterval(db)) ?? 0);
    this.#thresholds = { ...thresholds, intervalMs };
    let changed = this.#someoneMayBeDue ? await this.#markSilent(db, stopping) : 0;
    // After the marks, since what is to be taken back depends on them. This keeps the watch in every round.
    changed += await this.#takeBack(db, stopping);
    changed += await this.#endDrains(db, stopping);
    listener.swept?.((performance.now() - beganMs) / 1000);
    return changed;
  }

  async #markSilent(db: Db, stopping: AbortSignal): Promise<number> {
    const { listener } = this.#options;
    const thresholds = this.#thresholds;
    const patience = { staleAfterMs: staleAfterMs(thresholds), offlineAfterMs: offlineAfterMs(thresholds) };
    const silent = await findSilent(db, patience, AGENTS_PER_ROUND);
    let marked = 0;
    // A break in the watch that shows on the way ends this: nobody is due then.
    for (
      let from = 0;
      from < silent.length && this.#someoneMayBeDue && !stopping.aborted;
      from += AGENTS_AT_ONCE
    ) {
      const batch = silent.slice(from, from + AGENTS_AT_ONCE);
      const losses = await this.#watched(db, (tx, watch) => markSilent(tx, batch, watch, thresholds));
      for (const loss of losses) listener.lost(loss);
      marked += batch.length;
    }
    return marked;
  }

  async #takeBack(db: Db, stopping: AbortSignal): Promise<number> {
    const { giveBack, brake, listener } = this.#options;
    const thresholds = this.#thresholds;
    let changed = 0;
    for (let more = true; more && !stopping.aborted; ) {
      const taken = await this.#watched(db, (tx, watch) =>
        takeBack(tx, watch, { ...giveBack, brake, thresholds }),
      );
      for (const change of taken.brakes) listener.braked(change);
      listener.tasksChanged(taken.changes);
      listener.cordoned(taken.cordoned);
      changed += taken.brakes.length + taken.changes.length + taken.cordoned.length;
      more = taken.more;
    }
    return changed;
  }

  async #endDrains(db: Db, stopping: AbortSignal): Promise<number> {
    const { giveBack, listener } = this.#options;
    let changed = 0;
    for (let more = true; more && !stopping.aborted; ) {
      // By the operator's word and the database's clock: whether anybody listened meanwhile does not matter.
      const ended = await inTransaction(db, (tx) => endDrains(tx, giveBack));
      listener.tasksChanged(ended.changes);
      listener.cordoned(ended.drained);
      changed += ended.changes.length + ended.drained.length;
      more = ended.more;
    }
    return changed;
  }

  async #watched<T>(db: Db, run: (tx: Tx, watch: Watch) => Promise<T>): Promise<T> {
    const { watch, result } = await inTransaction(db, async (tx) => {
      const watch = await keepWatch(tx, this.#toleranceMs);
      return { watch, result: await run(tx, watch) };
    });
    this.#someoneMayBeDue = maySomeoneBeDue(watch, this.#thresholds);
    return result;
  }
}
