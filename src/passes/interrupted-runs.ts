import { Periodic } from "../runtime/periodic.ts";
import { type AroundRound, unwatched } from "../runtime/round.ts";
import type { Service } from "../runtime/service.ts";
import { type Db, inTransaction } from "../storage/database.ts";
import { appendRunEvent, endData } from "./pass-service.ts";
import { interruptRun, listRunning } from "./run-store.ts";

const LOOK_EVERY_MS = 2_000;
const RUNS_AT_ONCE = 100;

/** Ends the runs of servers that died: those that run by their row while nobody holds their lock. Every server looks. */
export function createInterruptedRuns(
  db: Db,
  onError: (error: unknown) => void,
  around: AroundRound = unwatched,
): Service {
  const round = async (stopping: AbortSignal) => void (await around(() => endInterrupted(db, stopping)));
  return new Periodic(LOOK_EVERY_MS, round, onError);
}

/** Resolves to how many were ended. */
async function endInterrupted(db: Db, stopping: AbortSignal): Promise<number> {
  let ended = 0;
  for (const { projectId, id } of await listRunning(db, RUNS_AT_ONCE)) {
    if (stopping.aborted) break;
    ended += await inTransaction(db, async (tx) => {
      const run = await interruptRun(tx, projectId, id, "the server that ran this pass died in the middle");
      if (run === undefined) return 0;
      const key = { projectId, id, agentName: run.agentName };
      await appendRunEvent(tx, key, "run.finished", endData(run));
      return 1;
    });
  }
  return ended;
}
