import { allPages } from "../api/all-pages.ts";
import { fleet } from "../api/clients.ts";
import { sentenceOf } from "../api/failure.ts";
import { session } from "../api/session.ts";
import { serverNow } from "./clock.ts";
import { agentRows, fleetState, replaceFleet } from "./fleet-store.ts";

let timer: ReturnType<typeof setTimeout> | undefined;
let reading: Promise<void> | undefined;

/**
 * How long to wait between two lists, in milliseconds. What changes an agent's state comes by events; the lists bring
 * progress and gauges, and a fleet of thousands is not read every few seconds for that.
 */
export function pauseFor(agents: number, visible: boolean): number {
  const pause = agents <= 300 ? 2_000 : agents <= 1_500 ? 5_000 : 10_000;
  return visible ? pause : Math.max(30_000, pause);
}

/** Lists the fleet now; who asks while a list is on its way gets that one. */
export function readFleet(): Promise<void> {
  reading ??= read().finally(() => {
    reading = undefined;
  });
  return reading;
}

async function read(): Promise<void> {
  const asked = session.value;
  try {
    const agents = await allPages(
      (page) => fleet.listAgents(page),
      (page) => page.agents,
    );
    if (session.value === asked) replaceFleet(agents, serverNow());
  } catch (error) {
    if (session.value !== asked) return;
    const sentence = sentenceOf(error);
    const before = fleetState.value;
    fleetState.value =
      before.kind === "ready" ? { kind: "ready", stale: sentence } : { kind: "failed", sentence };
  }
}

async function round(): Promise<void> {
  await readFleet();
  if (timer === undefined) return;
  timer = setTimeout(round, pauseFor(agentRows.value.size, document.visibilityState === "visible"));
}

/** Lists the fleet again and again until the answer is called. */
export function pollFleet(): () => void {
  timer = setTimeout(round, 0);
  const seen = () => {
    if (document.visibilityState !== "visible" || timer === undefined) return;
    clearTimeout(timer);
    timer = setTimeout(round, 0);
  };
  document.addEventListener("visibilitychange", seen);
  return () => {
    clearTimeout(timer);
    timer = undefined;
    document.removeEventListener("visibilitychange", seen);
  };
}
