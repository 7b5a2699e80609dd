import type { ServiceImpl } from "@connectrpc/connect";
import { EventSchema } from "../../gen/drover/v1/event_pb.js";
import type { EventService, ListEventsRequest } from "../../gen/drover/v1/event_service_pb.js";
import { callerOf } from "../identity/caller.ts";
import { cutOffKey } from "../runtime/cut-off.ts";
import { deferStream } from "../runtime/defer-stream.ts";
import { messageSize } from "../runtime/message-size.ts";
import { invalidField } from "../runtime/refusal.ts";
import { cutPage, type PageRequest, readPageRequest } from "../storage/page.ts";
import { type Cursor, formatCursor, judgeCursor, parseCursor, type StreamState } from "./cursor.ts";
import { eventToMessage } from "./event-message.ts";
import { readStream } from "./event-store.ts";
import { type ListedRange, listEvents, untilNumbered } from "./list-events.ts";
import { readFilter } from "./read-filter.ts";
import { cursorRefusal, Watch, type WatchParts } from "./watch.ts";
import type { WatchRegistry } from "./watch-registry.ts";

/** The events of EventService. */
export function createEventRpc(
  parts: WatchParts,
  watches: WatchRegistry,
): Pick<ServiceImpl<typeof EventService>, "watchEvents" | "listEvents"> {
  const { db } = parts;
  return {
    watchEvents: (request, context) =>
      deferStream(async () => {
        const caller = callerOf(context);
        const { projectId } = caller;
        const filter = readFilter(request);
        // What a browser's EventSource reconnects with: it repeats the address, whose cursor is older by then.
        const last = context.requestHeader.get("last-event-id") ?? "";
        const given = last === "" ? readCursor("after", request.after) : readCursor("Last-Event-ID", last);
        // Now is after everything that is committed now.
        if (given === undefined) await untilNumbered(db, projectId);
        const stream = await readStream(db, projectId);
        const after = given === undefined ? stream.lastSeq : placeIn(stream, given);
        const watch = new Watch(projectId, filter, stream, after, parts, context.values.get(cutOffKey));
        watches.add(watch, caller, context.signal);
        return watch.messages;
      }),

    async listEvents(request, context) {
      const { projectId } = callerOf(context);
      const filter = readFilter(request);
      const given = readCursor("after", request.after);
      await untilNumbered(db, projectId);
      const stream = await readStream(db, projectId);
      const { epoch } = stream;
      const after = given === undefined ? stream.prunedSeq : placeIn(stream, given);
      const page = readPageRequest(request.pageSize, request.pageToken, ["text"], queryOf(request, epoch));
      const newestFirst = request.orderBy === "time desc";
      const range = { first: after + 1n, last: stream.lastSeq, projectId, filter, newestFirst };
      const found = await listEvents(db, restOf(range, page), page.size + 1, context.signal);
      const { rows, nextPageToken } = cutPage(
        found,
        page,
        ({ seq }) => [String(seq)],
        (event) => messageSize(EventSchema, eventToMessage(event, epoch)),
      );
      const cursor = formatCursor({ epoch, seq: stream.lastSeq });
      return { events: rows.map((event) => eventToMessage(event, epoch)), nextPageToken, cursor };
    },
  };
}

function readCursor(field: string, text: string): Cursor | undefined {
  if (text === "") return undefined;
  const cursor = parseCursor(text);
  if (cursor === undefined) throw invalidField(field, "must be the cursor of an event");
  return cursor;
}

/** The number behind which a cursor stands. Throws OUT_OF_RANGE where what follows it cannot be delivered. */
function placeIn(stream: StreamState, cursor: Cursor): bigint {
  const problem = judgeCursor(cursor, stream);
  if (problem !== undefined) throw cursorRefusal(problem);
  return cursor.seq;
}

/** What a page token is good for: the same list of the same history. */
function queryOf({ after, types, agents, tasks, orderBy }: ListEventsRequest, epoch: string): unknown {
  return [after, types, agents, tasks, orderBy, epoch];
}

/** What is left of a range behind the page before. */
function restOf(range: ListedRange, { after }: PageRequest): ListedRange {
  const [seq] = after ?? [];
  if (seq === undefined) return range;
  if (!/^\d{1,18}$/.test(seq))
    throw invalidField("page_token", "is not the next_page_token of the same list");
  return range.newestFirst ? { ...range, last: BigInt(seq) - 1n } : { ...range, first: BigInt(seq) + 1n };
}
