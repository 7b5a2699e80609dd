import { create } from "@bufbuild/protobuf";
import { type WatchEventsResponse, WatchEventsResponseSchema } from "../../gen/drover/v1/event_service_pb.js";
import { Outbox } from "../runtime/outbox.ts";
import { Refusal } from "../runtime/refusal.ts";
import type { Db } from "../storage/database.ts";
import type { CursorProblem } from "./cursor.ts";
import type { EventFeed, Follower } from "./event-feed.ts";
import { bookmarkMessage, eventToMessage } from "./event-message.ts";
import { readStretch, type StoredEvent, type StreamLook } from "./event-store.ts";
import { type EventFilter, matchEvent } from "./match-event.ts";

/** Events that wait for a caller to read them; the rest waits in the table. */
const BUFFERED_EVENTS = 1_024;
/** A caller that leaves the buffer full for so long is sent away, and resumes by its cursor. */
const STALLED_MS = 10_000;
/** Numbers that one step of catching up looks at, and events that it takes at most. */
const STRETCH = 5_000n;
const STRETCH_EVENTS = 500;
/** How long an ended watch's last word may wait behind what its caller does not read. */
const LAST_WORD_MS = 2_000;
const STOP_WORD_MS = 300;
/** A bookmark follows so long after the newest frame where the place has moved, and where it has not. */
const BOOKMARK_MS = 1_000;
const STILL_BOOKMARK_MS = 15_000;

export interface WatchParts {
  readonly db: Db;
  readonly feed: EventFeed;
  /** Hears of a watch that failed for no reason of its caller's. */
  readonly onError: (error: unknown) => void;
  /** After how long a caller that leaves the buffer full is sent away; 10 s when left out. */
  readonly stalledMs?: number;
}

/** One message serves all watches of an event: frozen, so that the doors encode it once. */
const messages = new WeakMap<StoredEvent, WatchEventsResponse>();

function messageOf(event: StoredEvent, epoch: string): WatchEventsResponse {
  const known = messages.get(event);
  if (known !== undefined) return known;
  const made = Object.freeze(create(WatchEventsResponseSchema, { event: eventToMessage(event, epoch) }));
  messages.set(event, made);
  return made;
}

/**
 * One caller's watch: by reading the table from its cursor on, then by what the feed gives. A caller that reads more
 * slowly than events come goes back to the table, at its own pace and at nobody's expense.
 */
export class Watch implements Follower {
  readonly projectId: string;
  readonly filter: EventFilter;
  readonly #epoch: string;
  /** Where the stream ended when the watch began. */
  readonly #knownLast: bigint;
  readonly #parts: WatchParts;
  readonly #cutOff: () => void;
  readonly #outbox = new Outbox<WatchEventsResponse>(BUFFERED_EVENTS);
  /** Settles when the feed is left; undefined while the watch does not follow it. */
  #behind: PromiseWithResolvers<void> | undefined;
  /** All up to this one was looked at. */
  #seq: bigint;
  /** Of the newest frame; undefined before the first. */
  #sentSeq: bigint | undefined;
  #sentAtMs = performance.now();
  #nowMicros: bigint;

  /** Begins behind the event numbered `after`, in the stream as it was looked at. */
  constructor(
    projectId: string,
    filter: EventFilter,
    stream: StreamLook,
    after: bigint,
    parts: WatchParts,
    cutOff: () => void,
  ) {
    this.projectId = projectId;
    this.filter = filter;
    this.#epoch = stream.epoch;
    this.#nowMicros = stream.nowMicros;
    this.#knownLast = stream.lastSeq;
    this.#seq = after;
    this.#parts = parts;
    this.#cutOff = cutOff;
  }

  /** What the door sends. */
  get messages(): AsyncIterable<WatchEventsResponse> {
    return this.#outbox;
  }

  /** Catches up and follows; resolves when the watch has ended, in whatever way. Never rejects. */
  async run(): Promise<void> {
    try {
      while (!this.#outbox.isClosed) {
        if (this.#follow()) await Promise.race([this.#behind?.promise, this.#outbox.done()]);
        else await this.#catchUp();
      }
    } catch (error) {
      this.#fail(error);
    }
    await this.#outbox.done();
    this.#leave();
  }

  /** Joins the feed; false where there is more to catch up, or no room for what the feed has for it already. */
  #follow(): boolean {
    if (this.#outbox.room === 0) return false;
    this.#behind = Promise.withResolvers();
    if (!this.#parts.feed.join(this, this.#epoch, this.#seq)) this.#behind = undefined;
    // Left again at once, for want of room: joining over and over would leave the server no turn for anything else.
    if (this.#behind === undefined) return false;
    // Whoever has caught up hears so: the first frame of a watch that starts now, and a place to resume from.
    const isAtEnd = this.#seq >= this.#knownLast && this.#outbox.room > 0;
    if (isAtEnd && this.#sentSeq !== this.#seq) this.#sendBookmark();
    return true;
  }

  take(event: StoredEvent): void {
    // A watch that has read further in the table than the feed has gone joins all the same.
    if (event.seq <= this.#seq || this.#behind === undefined) return;
    if (matchEvent(this.filter, event)) {
      if (this.#outbox.room === 0) {
        this.#leave();
        return;
      }
      this.#outbox.putNow(messageOf(event, this.#epoch));
      this.#noteSent(event.seq);
    }
    this.#seq = event.seq;
  }

  idle({ nowMicros }: StreamLook): void {
    this.#nowMicros = nowMicros;
    const waitedMs = performance.now() - this.#sentAtMs;
    const dueMs = this.#sentSeq === this.#seq ? STILL_BOOKMARK_MS : BOOKMARK_MS;
    // A caller with unread frames needs no other one.
    if (waitedMs >= dueMs && this.#outbox.room === BUFFERED_EVENTS) this.#sendBookmark();
  }

  /** The caller is gone. */
  forget(): void {
    this.#leave();
    this.#outbox.abort(undefined);
    void this.#outbox.return();
  }

  /** Ends the watch for a server that stops; what waits is still delivered, if the caller reads it at once. */
  endForStop(reason: Refusal): void {
    this.#leave();
    this.#outbox.close({ reason });
    setTimeout(this.#cutOff, STOP_WORD_MS).unref();
  }

  replaced(reason: CursorProblem): void {
    this.end(cursorRefusal(reason));
  }

  /** Ends the watch now; nothing more is delivered. A caller that does not read is cut off. */
  end(reason: Refusal): void {
    this.#leave();
    this.#outbox.abort(reason);
    // Without effect on a call that is over by then.
    setTimeout(this.#cutOff, LAST_WORD_MS).unref();
  }

  /** Reads the next stretch, and waits for the caller to take it. */
  async #catchUp(): Promise<void> {
    const { db } = this.#parts;
    const { projectId, filter } = this;
    const stretch = { projectId, first: this.#seq + 1n, last: this.#seq + STRETCH };
    const page = { limit: STRETCH_EVENTS, newestFirst: false };
    const { events, epoch, lastSeq, prunedSeq } = await readStretch(db, stretch, filter, page);
    if (epoch !== this.#epoch) throw cursorRefusal("CURSOR_FOREIGN");
    if (prunedSeq > this.#seq) throw cursorRefusal("CURSOR_PRUNED");
    for (const event of events) {
      if (!(await this.#put(messageOf(event, this.#epoch)))) return;
      this.#seq = event.seq;
      this.#noteSent(event.seq);
    }
    if (events.length < STRETCH_EVENTS) {
      const seen = lastSeq < stretch.last ? lastSeq : stretch.last;
      if (seen > this.#seq) this.#seq = seen;
    }
  }

  /** Waits for room, but not for ever; false where the watch has ended. */
  async #put(message: WatchEventsResponse): Promise<boolean> {
    if (this.#outbox.room > 0) return this.#outbox.putNow(message);
    const stalled = setTimeout(() => {
      const words = "this watch is not read: resume it from the last cursor";
      this.end(new Refusal("resource-exhausted", words, { reason: "WATCH_TOO_SLOW", retryAfterMs: 1_000 }));
    }, this.#parts.stalledMs ?? STALLED_MS);
    try {
      return await this.#outbox.put(message);
    } finally {
      clearTimeout(stalled);
    }
  }

  #leave(): void {
    this.#parts.feed.leave(this);
    this.#behind?.resolve();
    this.#behind = undefined;
  }

  #sendBookmark(): void {
    const event = bookmarkMessage(this.#epoch, this.#seq, this.#nowMicros);
    this.#outbox.putNow(create(WatchEventsResponseSchema, { event }));
    this.#noteSent(this.#seq);
  }

  #noteSent(seq: bigint): void {
    this.#sentSeq = seq;
    this.#sentAtMs = performance.now();
  }

  #fail(error: unknown): void {
    if (error instanceof Refusal) {
      this.#outbox.close({ reason: error });
      return;
    }
    this.#parts.onError(error);
    const words = "the database cannot be read: resume from the last cursor";
    this.#outbox.close({
      reason: new Refusal("unavailable", words, { retryAfterMs: 1_000, cause: error }),
    });
  }
}

/** What the caller of a cursor that cannot be served is told. */
export function cursorRefusal(reason: CursorProblem): Refusal {
  const words = {
    CURSOR_FOREIGN: "this cursor belongs to another history of the database",
    CURSOR_AHEAD: "this cursor is ahead of the newest event",
    CURSOR_PRUNED: "events behind this cursor were pruned",
  } satisfies Record<CursorProblem, string>;
  const remedy = "read afresh what you follow, and watch without a cursor";
  return new Refusal("out-of-range", `${words[reason]}: ${remedy}`, {
    reason,
    violations: [{ field: "after", description: words[reason] }],
  });
}
