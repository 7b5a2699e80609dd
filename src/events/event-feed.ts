import { setTimeout as delay } from "node:timers/promises";
import type { Service } from "../runtime/service.ts";
import type { Db } from "../storage/database.ts";
import { type CursorProblem, judgeCursor } from "./cursor.ts";
import { readNew, readStreams, type StoredEvent, type StreamLook } from "./event-store.ts";
import type { EventFilter } from "./match-event.ts";

/** A watch that has caught up, as the feed sees it. Nothing of it may throw or wait. */
export interface Follower {
  readonly projectId: string;
  readonly filter: EventFilter;
  /** All events behind the place at which it joined, each once, in order; wanted or not. */
  take(event: StoredEvent): void;
  /** Everything that there is was given; `state` tells how far the stream goes. Called about once a second. */
  idle(state: StreamLook): void;
  /** What it follows is not there any more: the database was replaced, or events were pruned before they were read. */
  replaced(reason: CursorProblem): void;
}

const PAGE_SIZE = 1_000;
const BUSY_PAUSE_MS = 20;
const IDLE_PAUSE_MS = 50;
const FAILED_PAUSE_MS = 500;
const IDLE_AFTER_ROUNDS = 100;
const LOOK_EVERY_MS = 1_000;
/** Newest events of a project, kept so that a watch which has almost caught up can join without a gap. */
const RECENT_EVENTS = 1_000;

/** A project that somebody watches. */
interface Channel {
  readonly projectId: string;
  readonly epoch: string;
  /** Of the newest event that was given to the followers. */
  lastSeq: bigint;
  /** The newest ones up to that, without a gap. */
  recent: StoredEvent[];
  readonly followers: Set<Follower>;
}

/**
 * Gives the events of all projects that are watched to all who watch: one query at a time for a whole server, however
 * many watches there are.
 */
export class EventFeed implements Service {
  readonly #db: Db;
  readonly #onError: (error: unknown) => void;
  readonly #channels = new Map<string, Channel>();
  readonly #stopping = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #wake: () => void = () => {};
  #lookedAtMs = 0;

  constructor(db: Db, onError: (error: unknown) => void) {
    this.#db = db;
    this.#onError = onError;
  }

  /** How many watches follow now. */
  get followers(): number {
    return [...this.#channels.values()].reduce((sum, { followers }) => sum + followers.size, 0);
  }

  async start(): Promise<void> {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#wake();
    await this.#running;
  }

  /** New events may be there: they are looked for at once. */
  hurry(): void {
    this.#wake();
  }

  /**
   * Joins a watch that has come to that place; it is told everything behind it, part of which at once. False where that
   * place is too far back: read on, and try again. A later call to `leave` ends it.
   */
  join(follower: Follower, epoch: string, seq: bigint): boolean {
    const { projectId } = follower;
    const known = this.#channels.get(projectId);
    const channel = known ?? { projectId, epoch, lastSeq: seq, recent: [], followers: new Set() };
    const missing = channel.lastSeq - seq;
    if (channel.epoch !== epoch || missing > BigInt(channel.recent.length)) return false;
    this.#channels.set(projectId, channel);
    channel.followers.add(follower);
    if (missing > 0n) for (const event of channel.recent.slice(-Number(missing))) follower.take(event);
    if (known === undefined) this.#wake();
    return true;
  }

  leave(follower: Follower): void {
    const channel = this.#channels.get(follower.projectId);
    channel?.followers.delete(follower);
    if (channel?.followers.size === 0) this.#channels.delete(follower.projectId);
  }

  async #run(): Promise<void> {
    let idleRounds = 0;
    while (!this.#stopping.signal.aborted) {
      let pauseMs = idleRounds > IDLE_AFTER_ROUNDS ? IDLE_PAUSE_MS : BUSY_PAUSE_MS;
      try {
        const busy = this.#channels.size > 0 && (await this.#round());
        idleRounds = busy ? 0 : idleRounds + 1;
        if (performance.now() - this.#lookedAtMs >= LOOK_EVERY_MS) await this.#look();
      } catch (error) {
        this.#onError(error);
        pauseMs = FAILED_PAUSE_MS;
      }
      await this.#pause(this.#channels.size === 0 ? undefined : pauseMs);
    }
  }

  /** Until something may have happened; without a time, until somebody watches. */
  async #pause(ms: number | undefined): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    const woken = new AbortController();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    const timer =
      ms === undefined ? [] : [delay(ms, undefined, { signal: woken.signal }).catch(() => undefined)];
    await Promise.race([promise, ...timer]);
    woken.abort();
    this.#wake = () => {};
  }

  /** Gives out what is new; true where something was. */
  async #round(): Promise<boolean> {
    const places = [...this.#channels.values()].map(({ projectId, lastSeq }) => ({
      projectId,
      after: lastSeq,
    }));
    const events = await readNew(this.#db, places, PAGE_SIZE);
    for (const event of events) this.#give(event);
    return events.length > 0;
  }

  #give(event: StoredEvent): void {
    const channel = this.#channels.get(event.projectId);
    // A channel that went and came again while this was read has a place of its own.
    if (channel === undefined || event.seq !== channel.lastSeq + 1n) return;
    channel.lastSeq = event.seq;
    channel.recent.push(event);
    if (channel.recent.length > 2 * RECENT_EVENTS) channel.recent = channel.recent.slice(-RECENT_EVENTS);
    for (const follower of channel.followers) follower.take(event);
  }

  /** Tells followers how far the streams go, and ends those whose stream was replaced. */
  async #look(): Promise<void> {
    this.#lookedAtMs = performance.now();
    const ids = [...this.#channels.keys()];
    if (ids.length === 0) return;
    const looks = await readStreams(this.#db, ids);
    for (const [projectId, look] of looks) {
      const channel = this.#channels.get(projectId);
      if (channel === undefined) continue;
      const { epoch, lastSeq, followers } = channel;
      const problem = judgeCursor({ epoch, seq: lastSeq }, look);
      if (problem !== undefined) {
        this.#channels.delete(projectId);
        for (const follower of followers) follower.replaced(problem);
      } else {
        for (const follower of followers) follower.idle({ ...look, lastSeq });
      }
    }
  }
}
