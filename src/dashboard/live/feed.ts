import { Code, ConnectError } from "@connectrpc/connect";
import type { Event } from "../../../gen/drover/v1/event_pb.js";
import { events } from "../api/clients.ts";
import { feed } from "./connection.ts";

/** Waits between attempts to reconnect, in milliseconds; the last one again and again. */
const PAUSES_MS = [200, 500, 1000, 2000, 5000] as const;
/** A stream that says nothing for so long is taken for dead: a bookmark comes far more often. */
const SILENCE_MS = 45_000;

export interface FeedListener {
  /** A place in the stream was taken: from here on, nothing is missed. What the page shows has to be read afresh. */
  readonly placed: () => void;
  readonly event: (event: Event) => void;
}

/**
 * Follows the project's events until the answer is called. A stream that is cut off is resumed behind the last event
 * that was taken; where that place is gone (OUT_OF_RANGE), a new one is taken and the page reads everything again.
 */
export function follow(listener: FeedListener): () => void {
  const ended = new AbortController();
  void run(listener, ended.signal);
  return () => ended.abort();
}

async function run(listener: FeedListener, ended: AbortSignal): Promise<void> {
  const place = { cursor: "", failures: 0 };
  while (!ended.aborted) {
    try {
      await watch(place, listener, ended);
    } catch (error) {
      if (ConnectError.from(error).code === Code.OutOfRange) place.cursor = "";
    }
    if (ended.aborted) return;
    feed.value = { kind: "reconnecting" };
    const pause = PAUSES_MS[Math.min(place.failures, PAUSES_MS.length - 1)] ?? 0;
    place.failures += 1;
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

async function watch(
  place: { cursor: string; failures: number },
  listener: FeedListener,
  ended: AbortSignal,
): Promise<void> {
  const silence = new AbortController();
  let alarm: ReturnType<typeof setTimeout> | undefined;
  const heard = () => {
    clearTimeout(alarm);
    alarm = setTimeout(() => silence.abort(), SILENCE_MS);
  };
  heard();
  const isOpen = new AbortController();
  try {
    const stream = events.watchEvents(
      { after: place.cursor },
      { signal: AbortSignal.any([ended, silence.signal]), timeoutMs: 0 },
    );
    if (place.cursor !== "") confirm(place.cursor, isOpen.signal);
    for await (const { event } of stream) {
      heard();
      if (event === undefined) continue;
      const isNew = place.cursor === "";
      place.cursor = event.cursor;
      place.failures = 0;
      feed.value = { kind: "live" };
      if (isNew) listener.placed();
      if (event.type !== "bookmark") listener.event(event);
    }
  } finally {
    isOpen.abort();
    clearTimeout(alarm);
  }
}

/** A resumed stream is silent until something happens: that the server answers is asked for beside it. */
function confirm(after: string, isOpen: AbortSignal): void {
  events
    .listEvents({ after, pageSize: 1 }, { signal: isOpen })
    .then(() => {
      if (!isOpen.aborted) feed.value = { kind: "live" };
    })
    // The stream itself ends for the same reason, and is what counts.
    .catch(() => {});
}
