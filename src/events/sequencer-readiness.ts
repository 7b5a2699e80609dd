import { printDuration } from "../runtime/duration.ts";
import type { Db } from "../storage/database.ts";
import { readSequencerLag } from "./event-store.ts";

/** Watches hear of events within a fraction of a second; one that waits for as long as this is not about to be told. */
const LONGEST_LAG_MS = 10_000;

/** What keeps watches from hearing of what happens, as a sentence; undefined where nothing does. */
export async function findSequencerProblem(db: Db): Promise<string | undefined> {
  const lagMs = await readSequencerLag(db);
  if (lagMs <= LONGEST_LAG_MS) return undefined;
  const [waited, longest] = [lagMs - (lagMs % 1000), LONGEST_LAG_MS].map(printDuration);
  return `an event has waited ${waited} for its place in the stream, more than ${longest}: watches hear nothing new`;
}
