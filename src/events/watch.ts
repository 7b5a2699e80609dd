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

/** Events that wait for a caller to read them; one who lets more wait is sent away and resumes by its cursor. */
const BUFFERED_EVENTS = 1_024;
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
}

/** One message serves all watches of an event: it is made once, and doors may keep what they made of it. */
const messages = new WeakMap<StoredEvent, WatchEventsResponse>();

function messageOf(event: StoredEvent, epoch: string): WatchEventsResponse {
  const known = messages.get(event);
  if (known !== undefined) return known;
  const made = create(WatchEventsResponseSchema, { event: eventToMessage(event, epoch) });
  messages.set(event, made);
  return made;
}

/** One caller's watch: first by reading the table from its cursor on, then by what the feed gives. */
export class Watch implements Follower {
  readonly projectId: string;
  readonly filter: EventFilter;
  readonly #epoch: string;
  /** Where the stream ended when the watch began. */
  readonly #knownLast: bigint;
  readonly #parts: WatchParts;
  readonly #cutOff: () => void;
  readonly #outbox = new Outbox<WatchEventsResponse>(BUFFERED_EVENTS);
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
      while (!this.#outbox.isClosed && !this.#parts.feed.join(this, this.#epoch, this.#seq)) {
        await this.#catchUp();
      }
      // Whoever has caught up hears so: the first frame of a watch that starts now, and a place to resume from.
      const isAtEnd = this.#seq >= this.#knownLast;
      if (isAtEnd && this.#sentSeq !== this.#seq) this.#sendBookmark();
    } catch (error) {
      this.#fail(error);
    }
    await this.#outbox.done();
    this.#parts.feed.leave(this);
  }

  take(event: StoredEvent): void {
    // A watch that has read further in the table than the feed has gone joins all the same.
    if (event.seq <= this.#seq) return;
    this.#seq = event.seq;
    if (!matchEvent(this.filter, event) || this.#outbox.isClosed) return;
    if (this.#outbox.room === 0) {
      const words = "this watch is read more slowly than events come: resume it from the last cursor";
      this.end(new Refusal("resource-exhausted", words, { reason: "WATCH_TOO_SLOW", retryAfterMs: 1_000 }));
      return;
    }
    this.#outbox.putNow(messageOf(event, this.#epoch));
    this.#noteSent(event.seq);
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
    this.#parts.feed.leave(this);
    this.#outbox.abort(undefined);
    void this.#outbox.return();
  }

  /** Ends the watch for a server that stops; what waits is still delivered, if the caller reads it at once. */
  endForStop(reason: Refusal): void {
    this.#parts.feed.leave(this);
    this.#outbox.close({ reason });
    setTimeout(this.#cutOff, STOP_WORD_MS).unref();
  }

  replaced(reason: CursorProblem): void {
    this.end(cursorRefusal(reason));
  }

  /** Ends the watch now; nothing more is delivered. A caller that does not read is cut off. */
  end(reason: Refusal): void {
    this.#parts.feed.leave(this);
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
      if (!(await this.#outbox.put(messageOf(event, this.#epoch)))) return;
      this.#seq = event.seq;
      this.#noteSent(event.seq);
    }
    if (events.length < STRETCH_EVENTS) {
      const seen = lastSeq < stretch.last ? lastSeq : stretch.last;
      if (seen > this.#seq) this.#seq = seen;
    }
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
