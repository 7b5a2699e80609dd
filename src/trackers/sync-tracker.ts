import { setTimeout as delay } from "node:timers/promises";
import { assertNever } from "../runtime/assert-never.ts";
import { type Db, inTransaction, type Tx } from "../storage/database.ts";
import type { HeldLock, SessionLocks } from "../storage/session-locks.ts";
import { confirmIssue, findUnconfirmed, upsertIssues } from "./issue-store.ts";
import { type FetchedPage, type Position, type Tracker, TrackerFailure } from "./tracker.ts";
import {
  beginSync,
  endSync,
  lockForSync,
  moveCursor,
  type SyncState,
  type TrackerRecord,
} from "./tracker-store.ts";

export interface SyncSettings {
  db: Db;
  locks: SessionLocks;
  /** Opens what a tracker's row describes; throws TrackerFailure. */
  open(tracker: TrackerRecord): Promise<Tracker>;
}

/** Which tracker is synced for whom. */
export interface SyncOrder {
  projectId: string;
  trackerId: string;
  runId: string;
  /** A sync that ends after this counts for this pass too. */
  passStartedAt: Date;
  /** Hears how many issues came so far. */
  progress(fetched: number): void;
}

export interface SyncOutcome {
  /** `gone`: the tracker was deleted meanwhile. */
  state: SyncState | "gone";
  /** In words; empty where all is well. */
  detail: string;
  /** Issues that came. */
  fetched: number;
  /** Addresses of those that were new or other than before. */
  changed: string[];
  /** Whether another pass did it. */
  shared: boolean;
}

const LOOK_EVERY_MS = 100;
/** Issues asked for one by one in a sync, to see whether they are still there. */
const CONFIRMED_AT_ONCE = 20;

/**
 * Fetches what changed in a tracker since the last time. Of passes that want that at once, one does and the others wait
 * for it. Throws nothing but what the database throws; a signal that ends it leaves the cursor where the next one goes on.
 */
export async function syncTracker(
  settings: SyncSettings,
  order: SyncOrder,
  signal: AbortSignal,
): Promise<SyncOutcome> {
  const lock = await waitForLock(settings, order, signal);
  if (lock === undefined) return ended("unfinished", "another pass still syncs it", true);
  try {
    return await syncLocked(settings, order, AbortSignal.any([signal, lock.lost]));
  } finally {
    await lock.release();
  }
}

async function waitForLock(
  { locks }: SyncSettings,
  { trackerId }: SyncOrder,
  signal: AbortSignal,
): Promise<HeldLock | undefined> {
  while (!signal.aborted) {
    const lock = await locks.take(`sync ${trackerId}`);
    if (lock !== undefined) return lock;
    await delay(LOOK_EVERY_MS, undefined, { signal }).catch(() => {});
  }
  return undefined;
}

async function syncLocked(
  settings: SyncSettings,
  order: SyncOrder,
  signal: AbortSignal,
): Promise<SyncOutcome> {
  const { db } = settings;
  const { projectId, trackerId, runId, passStartedAt } = order;
  const begun = await inTransaction(db, async (tx) => {
    const row = await lockForSync(tx, projectId, trackerId, passStartedAt);
    if (row === undefined || row.disabled)
      return ended("gone", "it was deleted or disabled meanwhile", false);
    if (row.endedSince) return ended(row.syncState, row.syncDetail, true);
    if (row.restMs > 0) return ended("rate-limited", limitText(row.restMs), false);
    await beginSync(tx, projectId, trackerId, runId);
    return row;
  });
  if ("state" in begun) return begun;
  const outcome = ended("synced", "", false);
  const end = await attempt(settings, begun, order, outcome, signal);
  outcome.state = end.state;
  outcome.detail = end.detail;
  if (end.state !== "gone") await endSync(db, projectId, trackerId, runId, { ...end, state: end.state });
  return outcome;
}

interface SyncEnd {
  state: SyncOutcome["state"];
  detail: string;
  /** For how long the tracker is to be left alone. */
  restMs: number | undefined;
}

async function attempt(
  settings: SyncSettings,
  row: TrackerRecord,
  order: SyncOrder,
  outcome: SyncOutcome,
  signal: AbortSignal,
): Promise<SyncEnd> {
  let tracker: Tracker | undefined;
  try {
    tracker = await settings.open(row);
    const restMs = await fetchAll(settings.db, tracker, row, order, outcome, signal);
    if (restMs !== undefined) return { state: "rate-limited", detail: limitText(restMs), restMs };
    await confirmIssues(settings.db, tracker, row, order, outcome, signal);
    return { state: "synced", detail: "", restMs: undefined };
  } catch (error) {
    if (error instanceof SyncTakenOver) return { state: "gone", detail: error.message, restMs: undefined };
    if (signal.aborted) {
      return {
        state: "unfinished",
        detail: "the time for it ran out; the next pass goes on",
        restMs: undefined,
      };
    }
    if (!(error instanceof TrackerFailure)) throw error;
    return endOf(error);
  } finally {
    await tracker?.close();
  }
}

function endOf(failure: TrackerFailure): SyncEnd {
  switch (failure.kind) {
    case "rate-limited": {
      const restMs = failure.restMs ?? 0;
      return { state: "rate-limited", detail: limitText(restMs), restMs };
    }
    case "unreachable":
    case "refused":
    case "bad-answer":
      return { state: "failed", detail: failure.message, restMs: undefined };
    default:
      return assertNever(failure.kind);
  }
}

/** Fetches page after page; resolves to how long the tracker is to be left alone where it ends before the last page. */
async function fetchAll(
  db: Db,
  tracker: Tracker,
  row: TrackerRecord,
  order: SyncOrder,
  outcome: SyncOutcome,
  signal: AbortSignal,
): Promise<number | undefined> {
  let position: Position | undefined = {
    since: row.cursor === null ? undefined : secondsText(row.cursor),
    page: 1,
    etag: row.etag,
  };
  while (position !== undefined) {
    const page: FetchedPage = await tracker.fetchChanges(position, signal);
    if (page.kind === "unchanged") return undefined;
    const next = nextPosition(position, page);
    const place = {
      cursor: dateOf(next?.since ?? position.since),
      etag: next === undefined ? page.etag : "",
    };
    const changed = await inTransaction(db, async (tx) => {
      await requireOurs(tx, order);
      const urls = await upsertIssues(tx, order.projectId, order.trackerId, page.issues);
      await moveCursor(tx, order.projectId, order.trackerId, place);
      return urls;
    });
    outcome.fetched += page.issues.length;
    outcome.changed.push(...changed);
    order.progress(outcome.fetched);
    if (next !== undefined && page.restMs !== undefined) return page.restMs;
    position = next;
  }
  return undefined;
}

/**
 * Where to go on behind a page, undefined at the end. Not by the number of the page where that can be helped: an issue
 * that changes meanwhile moves to the end, and one behind it would slip onto a page already read. The end is a page from
 * the cursor on that brings nothing newer, whose etag then says whether there is anything new the next time.
 */
export function nextPosition(
  { since, page }: Position,
  { newest, more }: { newest: string | undefined; more: boolean },
): Position | undefined {
  const moved = newest !== undefined && (since === undefined || Date.parse(newest) > Date.parse(since));
  if (moved) return { since: secondsText(new Date(newest)), page: 1, etag: "" };
  return more ? { since, page: page + 1, etag: "" } : undefined;
}

async function confirmIssues(
  db: Db,
  tracker: Tracker,
  row: TrackerRecord,
  order: SyncOrder,
  outcome: SyncOutcome,
  signal: AbortSignal,
): Promise<void> {
  for (const { id, number } of await findUnconfirmed(db, row.projectId, row.id, CONFIRMED_AT_ONCE)) {
    const isThere = await tracker.hasIssue(number, signal);
    await inTransaction(db, async (tx) => {
      await requireOurs(tx, order);
      await confirmIssue(tx, row.projectId, id, isThere);
    });
    outcome.fetched += 1;
  }
}

/** Another run has the tracker now, or it is gone. */
class SyncTakenOver extends Error {}

async function requireOurs(tx: Tx, { projectId, trackerId, runId }: SyncOrder): Promise<void> {
  const row = await lockForSync(tx, projectId, trackerId, new Date(0));
  if (row?.syncRun !== runId) throw new SyncTakenOver("it was deleted, or another pass took it over");
}

/** One spelling, so that a tracker that goes by the request's text knows it again. */
function secondsText(date: Date): string {
  return date.toISOString().replace(".000Z", "Z");
}

function dateOf(text: string | undefined): Date | null {
  return text === undefined ? null : new Date(text);
}

function limitText(restMs: number): string {
  return `its rate limit is used up; the next call is allowed in ${Math.ceil(restMs / 1000)} s`;
}

function ended(state: SyncOutcome["state"], detail: string, shared: boolean): SyncOutcome {
  return { state, detail, fetched: 0, changed: [], shared };
}
