import { Periodic } from "../runtime/periodic.ts";
import { newUuid } from "../runtime/resource-id.ts";
import type { Service } from "../runtime/service.ts";
import type { Db } from "../storage/database.ts";
import { decidePace, longestOf, nextBeatMs, type Pace, type PaceRules } from "./decide-pace.ts";
import { announceInterval, countHeard } from "./pace-store.ts";

const COUNT_EVERY_MS = 5_000;
/** An announcement that was not renewed for so long says nothing any more: the server that made it may be cut off. */
const VALID_FOR_MS = 15_000;
/** A crowd is announced with room to grow: announcements cost a statement each. */
const ROOM = 1.25;

export interface PacerSettings extends PaceRules {
  /** For how long an agent that goes by an interval may be silent before it is lost, in ms. */
  patienceMs(intervalMs: number): number;
  /** How long a lease is to last at least, whatever the interval, in ms. */
  leaseMs: number;
}

/**
 * Says when agents are to be heard next. A longer interval than the usual one is told only after the database knows of
 * it: whoever judges silence, on whatever server, then waits for as long as agents were told.
 */
export class HeartbeatPacer implements Service {
  readonly #db: Db;
  readonly #settings: PacerSettings;
  readonly #onError: (error: unknown) => void;
  readonly #serverId = newUuid();
  readonly #rounds: Periodic;
  #agents = 0;
  #announced: { longestMs: number; untilMs: number };
  #fleetLongestMs: number;
  #announcing: Promise<void> | undefined;
  #second = { startedMs: 0, count: 0, before: 0 };

  constructor(db: Db, settings: PacerSettings, onError: (error: unknown) => void) {
    this.#db = db;
    this.#settings = settings;
    this.#onError = onError;
    this.#announced = { longestMs: settings.baseMs, untilMs: Number.POSITIVE_INFINITY };
    this.#fleetLongestMs = settings.baseMs;
    this.#rounds = new Periodic(COUNT_EVERY_MS, () => this.#look(), onError);
  }

  /** Counts once before it resolves: the first agents after a restart are told what a fleet of their size is told. */
  async start(): Promise<void> {
    await this.#look().catch(this.#onError);
    await this.#rounds.start();
  }

  async stop(): Promise<void> {
    await this.#rounds.stop();
    await this.#announcing;
  }

  /** Notes a heartbeat and says when the next one is due, in ms. */
  next(): number {
    this.#count();
    const pace = this.#pace();
    const allowedMs = this.#allowedMs();
    if (longestOf(pace) > allowedMs) this.#announceSoon(pace);
    // Drawn from what is left below the announced, and not cut off there: those who were would all come at once.
    const intervalMs = Math.min(pace.intervalMs, allowedMs);
    const spreadMs = Math.min(pace.spreadMs, allowedMs - intervalMs);
    return nextBeatMs({ intervalMs, spreadMs }, Math.random());
  }

  /** The interval without its spread, for those who have not sent a heartbeat yet, in ms. */
  get intervalMs(): number {
    return Math.min(this.#pace().intervalMs, this.#allowedMs());
  }

  /** How long a lease lasts: at least three of the longest intervals that any agent was told, in ms. */
  get leaseMs(): number {
    return Math.max(this.#settings.leaseMs, 3 * Math.max(this.#fleetLongestMs, this.#allowedMs()));
  }

  #pace(): Pace {
    return decidePace(this.#settings, this.#agents, this.#second.before + this.#second.count);
  }

  #allowedMs(): number {
    const { longestMs, untilMs } = this.#announced;
    return performance.now() < untilMs ? longestMs : this.#settings.baseMs;
  }

  /** Heartbeats of this second and the one before it, which together are one and a half on average. */
  #count(): void {
    const nowMs = performance.now();
    const elapsedMs = nowMs - this.#second.startedMs;
    if (elapsedMs >= 1000) {
      this.#second = { startedMs: nowMs, count: 0, before: elapsedMs < 2000 ? this.#second.count : 0 };
    }
    this.#second.count += 1;
  }

  async #look(): Promise<void> {
    this.#agents = await countHeard(this.#db);
    await this.#announce(longestOf(this.#pace()));
  }

  #announceSoon(pace: Pace): void {
    this.#announcing ??= this.#announce(Math.ceil(longestOf(pace) * ROOM))
      .catch(this.#onError)
      .finally(() => {
        this.#announcing = undefined;
      });
  }

  async #announce(longestMs: number): Promise<void> {
    // Counted from before it was sent, which is the earlier one on both clocks.
    const untilMs = performance.now() + VALID_FOR_MS;
    const patienceMs = this.#settings.patienceMs(longestMs);
    this.#fleetLongestMs = await announceInterval(this.#db, {
      serverId: this.#serverId,
      longestMs,
      validForMs: VALID_FOR_MS,
      patienceMs,
    });
    this.#announced = { longestMs, untilMs };
  }
}
