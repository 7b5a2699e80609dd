import { feed } from "./connection.ts";
import { pollFleet } from "./fleet-poll.ts";

/** Keeps the page up to date until the answer is called. */
export function startLive(): () => void {
  feed.value = { kind: "live" };
  return pollFleet();
}
