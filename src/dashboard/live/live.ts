import { applyEvent } from "./apply-event.ts";
import { feed } from "./connection.ts";
import { follow } from "./feed.ts";
import { pollFleet, readFleet } from "./fleet-poll.ts";
import { tail } from "./tail.ts";
import { stir } from "./topics.ts";

/** The least time between two lists that events ask for, in milliseconds. */
const LIST_PAUSE_MS = 700;

/** Keeps the page up to date until the answer is called. */
export function startLive(): () => void {
  feed.value = { kind: "connecting" };
  let timer: ReturnType<typeof setTimeout> | undefined;
  const listSoon = () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      void readFleet();
    }, LIST_PAUSE_MS);
  };
  const unfollow = follow({
    // Listed after the place was taken: whatever the list does not have yet comes as an event.
    placed() {
      void readFleet();
      stir("any");
    },
    event(event) {
      tail.add(event);
      if (applyEvent(event)) listSoon();
    },
  });
  const stopPolling = pollFleet();
  return () => {
    unfollow();
    stopPolling();
    clearTimeout(timer);
    tail.clear();
  };
}
