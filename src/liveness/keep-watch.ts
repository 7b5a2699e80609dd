import { extendDrains } from "../agents/cordon-service.ts";
import type { Tx } from "../storage/database.ts";
import { extendLeases } from "../tasks/give-back.ts";
import type { Watch } from "./decide-liveness.ts";
import { lockWatch, noteWatch } from "./liveness-store.ts";

/**
 * Keeps the watch, first thing in every transaction that takes something away from an agent, so that what follows rests
 * on it: the transactions of two servers go one after the other, and a break in the watch is seen before anyone is
 * blamed for it. After a break of more than `toleranceMs` (the servers or the database were away) silence counts from now
 * on, and every lease and every drain lasts longer by the break.
 *
 * What follows has to measure silence by the answer's `nowMs`: if the database stands still after this, the time is not
 * the agents'.
 */
export async function keepWatch(tx: Tx, toleranceMs: number): Promise<Watch> {
  const kept = await lockWatch(tx);
  const broken = kept !== undefined && kept.unkeptMs > toleranceMs;
  if (broken) {
    // Agents before tasks, as everywhere.
    await extendDrains(tx, kept.unkeptMs);
    await extendLeases(tx, kept.unkeptMs);
  }
  await noteWatch(tx, broken);
  // The first watch of all begins now, whatever the clock says: nobody has been silent in it.
  if (kept === undefined) return { nowMs: 0, sinceMs: 0 };
  return { nowMs: kept.nowMs, sinceMs: broken ? kept.nowMs : kept.sinceMs };
}
