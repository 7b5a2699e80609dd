import type { ReportProblem } from "../doors/door.ts";
import { EventFeed } from "../events/event-feed.ts";
import { createEventRpc } from "../events/event-rpc.ts";
import { EventSequencer } from "../events/sequencer.ts";
import { WatchRegistry } from "../events/watch-registry.ts";
import type { Tracing } from "../observability/tracing.ts";
import type { Database } from "../storage/database.ts";
import type { OpenStreams } from "../tokens/open-streams.ts";

/** The stream of events: who numbers them, who reads them, who follows them. */
export interface Events {
  sequencer: EventSequencer;
  feed: EventFeed;
  watches: WatchRegistry;
  rpc: ReturnType<typeof createEventRpc>;
}

/** What numbers events, reads them and sends them to who watches. */
export function createEvents(
  database: Database,
  open: OpenStreams,
  report: ReportProblem,
  tracing: Tracing | undefined,
): Events {
  const { db } = database;
  const feed = new EventFeed(db, (error) => report("events were not read; it is tried again", error));
  const sequencer = new EventSequencer(
    database,
    {
      numbered: () => feed.hurry(),
      failed: (error) => report("events were not numbered; it is tried again", error),
    },
    tracing?.background("number events"),
  );
  const watches = new WatchRegistry((stream) => open.add(stream));
  const onError = (error: unknown) => report("a watch of events failed", error);
  return { sequencer, feed, watches, rpc: createEventRpc({ db, feed, onError }, watches) };
}
