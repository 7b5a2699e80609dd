import { create, isMessage, type Message } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { TimestampSchema } from "@bufbuild/protobuf/wkt";
import { type Event, EventSchema } from "../../gen/drover/v1/event_pb.js";
import { WatchEventsResponseSchema } from "../../gen/drover/v1/event_service_pb.js";
import { formatCursor } from "./cursor.ts";
import type { StoredEvent } from "./event-store.ts";

/** The type of the event that tells of nothing but how far a watch has come. */
export const BOOKMARK = "bookmark";

/** An event as callers see it. */
export function eventToMessage(event: StoredEvent, epoch: string): Event {
  const { seq, type, subject, timeMicros, data } = event;
  return create(EventSchema, {
    cursor: formatCursor({ epoch, seq }),
    type,
    time: timeOf(timeMicros),
    subject,
    data,
  });
}

/** A bookmark for the place behind a number. */
export function bookmarkMessage(epoch: string, seq: bigint, nowMicros: bigint): Event {
  return create(EventSchema, {
    cursor: formatCursor({ epoch, seq }),
    type: BOOKMARK,
    time: timeOf(nowMicros),
    data: {},
  });
}

/** What a stream of events is resumed by, where it can name each: the cursor. */
export function eventIdOf(message: Message): string | undefined {
  return isMessage(message, WatchEventsResponseSchema) ? message.event?.cursor : undefined;
}

function timeOf(micros: bigint): Timestamp {
  return create(TimestampSchema, {
    seconds: micros / 1_000_000n,
    nanos: Number(micros % 1_000_000n) * 1_000,
  });
}
