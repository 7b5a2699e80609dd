import type { EventDraft } from "../events/event.ts";
import { appendEvents } from "../events/outbox.ts";
import { formatId } from "../runtime/resource-id.ts";
import type { Tx } from "../storage/database.ts";
import { afterLoss, afterTime, fadeTimes } from "./decide-flapping.ts";
import { findFadedFlaps, forgetFlaps, readFlaps, type StoredFlaps, writeFlaps } from "./flap-store.ts";
import type { AgentKey } from "./liveness-store.ts";

const RECORDS_AT_ONCE = 1_000;

/** Counts losses of agents whose rows are locked; those that were lost too often lately are flapping from now on. */
export async function noteLosses(tx: Tx, lost: readonly AgentKey[], nowMs: number): Promise<void> {
  if (lost.length === 0) return;
  const before = new Map((await readFlaps(tx, lost)).map((record) => [record.agentId, record]));
  const after = lost.map(({ projectId, agentId }) => ({
    projectId,
    agentId,
    ...afterLoss(before.get(agentId), nowMs),
  }));
  await writeFlaps(tx, after);
  const begun = after.filter(({ agentId, flapping }) => flapping && before.get(agentId)?.flapping !== true);
  await appendEvents(
    tx,
    begun.map((record) => eventOf("agent.flapping_started", record)),
  );
}

/** Lets agents come to rest that were not lost for long enough. The watch must be locked, so that one does it at a time. */
export async function restFlaps(tx: Tx, nowMs: number): Promise<void> {
  const records = await findFadedFlaps(tx, fadeTimes, RECORDS_AT_ONCE);
  const decided = (kind: ReturnType<typeof afterTime>) =>
    records.filter((record) => afterTime(record, nowMs) === kind);
  const rested = decided("rest");
  await writeFlaps(
    tx,
    rested.map((record) => ({ ...record, flapping: false })),
  );
  await forgetFlaps(tx, decided("forget"));
  await appendEvents(
    tx,
    rested.map((record) => eventOf("agent.flapping_ended", record)),
  );
}

function eventOf(type: "agent.flapping_started" | "agent.flapping_ended", record: StoredFlaps): EventDraft {
  const { projectId, agentId } = record;
  return { projectId, type, subject: formatId("agent", agentId), agentId };
}
