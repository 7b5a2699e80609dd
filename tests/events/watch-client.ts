import { type CallOptions, Code, ConnectError } from "@connectrpc/connect";
import type { Event } from "../../gen/drover/v1/event_pb.js";
import type { WatchEventsRequest } from "../../gen/drover/v1/event_service_pb.js";
import type { OperatorApi } from "../helpers/fleet-api.ts";
import { waitFor } from "../helpers/wait-for.ts";

export type WatchWish = Partial<Pick<WatchEventsRequest, "after" | "types" | "agents" | "tasks">>;

/** A watch under way: what it has brought, and how it ended. */
export interface TestWatch {
  readonly events: Event[];
  /** Without bookmarks. */
  readonly facts: () => Event[];
  /** Of the newest frame. */
  readonly cursor: () => string;
  /** Undefined while it goes on; "end" where it ended without an error. */
  readonly outcome: () => ConnectError | "end" | undefined;
  /** Resolves when a frame has come. */
  open(): Promise<void>;
  ended(): Promise<ConnectError | "end">;
  cancel(): void;
}

export function watchEvents(
  { events: api }: Pick<OperatorApi, "events">,
  wish: WatchWish = {},
  options: CallOptions = {},
): TestWatch {
  const events: Event[] = [];
  const cancelled = new AbortController();
  let outcome: ConnectError | "end" | undefined;
  const read = async (): Promise<ConnectError | "end"> => {
    try {
      for await (const { event } of api.watchEvents(wish, { ...options, signal: cancelled.signal })) {
        if (event !== undefined) events.push(event);
      }
      return "end";
    } catch (error) {
      return ConnectError.from(error);
    }
  };
  const ended = read().then((end) => {
    outcome = end;
    return end;
  });
  return {
    events,
    facts: () => events.filter(({ type }) => type !== "bookmark"),
    cursor: () => events.at(-1)?.cursor ?? "",
    outcome: () => outcome,
    async open() {
      await waitFor(() => events.length > 0 || outcome !== undefined, { what: "a first frame" });
      if (outcome instanceof ConnectError) throw outcome;
    },
    ended: () => ended,
    cancel: () => cancelled.abort(),
  };
}

/** Follows like `drover watch`: resumes from the newest cursor whenever a watch ends for another reason than its caller. */
export function followEvents(
  api: () => Pick<OperatorApi, "events">,
  wish: WatchWish,
  { reconnectAfter }: { reconnectAfter?: number } = {},
): { events: Event[]; reconnects: () => number; stop(): Promise<void> } {
  const events: Event[] = [];
  let [after, reconnects, stopped] = [wish.after ?? "", 0, false];
  let current: AbortController | undefined;
  const run = async () => {
    while (!stopped) {
      current = new AbortController();
      let taken = 0;
      try {
        for await (const { event } of api().events.watchEvents(
          { ...wish, after },
          { signal: current.signal },
        )) {
          if (event === undefined) continue;
          after = event.cursor;
          if (event.type !== "bookmark") events.push(event);
          taken += 1;
          if (reconnectAfter !== undefined && taken >= reconnectAfter) current.abort();
        }
      } catch (error) {
        const { code } = ConnectError.from(error);
        if (code === Code.OutOfRange || code === Code.InvalidArgument) throw error;
      }
      reconnects += 1;
    }
  };
  const running = run();
  return {
    events,
    reconnects: () => reconnects,
    async stop() {
      stopped = true;
      current?.abort();
      await running;
    },
  };
}
