import { setTimeout as delay } from "node:timers/promises";
import type { Db } from "../storage/database.ts";
import { findUnnumbered, readStretch, type StoredEvent } from "./event-store.ts";
import type { EventFilter } from "./match-event.ts";

/** Numbers that one query looks at. */
const STRETCH = 20_000n;
/** For how long a list waits for what was committed before it was asked for. */
const NUMBERED_WITHIN_MS = 2_000;
const LOOK_EVERY_MS = 10;

/** Waits until everything that the project had committed has its number, so that a caller's own doing is in its list. */
export async function untilNumbered(db: Db, projectId: string): Promise<void> {
  const newest = await findUnnumbered(db, projectId);
  if (newest === undefined) return;
  const giveUpAtMs = performance.now() + NUMBERED_WITHIN_MS;
  while (performance.now() < giveUpAtMs) {
    await delay(LOOK_EVERY_MS);
    if ((await findUnnumbered(db, projectId, newest)) === undefined) return;
  }
}

export interface ListedRange {
  readonly projectId: string;
  /** The numbers from `first` to `last`, both of them. */
  readonly first: bigint;
  readonly last: bigint;
  readonly filter: EventFilter;
  readonly newestFirst: boolean;
}

/**
 * The first wanted events of a range, at most so many. It looks at one stretch after the other: where little of much is
 * wanted, no single query reads for long. A caller who goes away ends it.
 */
export async function listEvents(
  db: Db,
  { projectId, filter, newestFirst, ...range }: ListedRange,
  limit: number,
  signal: AbortSignal,
): Promise<StoredEvent[]> {
  let { first, last } = range;
  const events: StoredEvent[] = [];
  while (first <= last && events.length < limit) {
    signal.throwIfAborted();
    const stretch = newestFirst
      ? { first: larger(first, last - STRETCH + 1n), last }
      : { first, last: -larger(-last, -(first + STRETCH - 1n)) };
    const page = { limit: limit - events.length, newestFirst };
    events.push(...(await readStretch(db, { projectId, ...stretch }, filter, page)).events);
    if (newestFirst) last = stretch.first - 1n;
    else first = stretch.last + 1n;
  }
  return events;
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
