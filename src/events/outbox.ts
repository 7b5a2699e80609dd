import type { Tx } from "../storage/database.ts";
import { events } from "../storage/schema.ts";
import type { EventDraft } from "./event.ts";

/**
 * Appends events in the order given; watchers get them if and only if the transaction commits. To be called after the
 * lock of their subject was taken: two facts of one subject have ids in the order in which they became true.
 */
export async function appendEvents(tx: Tx, drafts: readonly EventDraft[]): Promise<void> {
  if (drafts.length === 0) return;
  await tx.insert(events).values(drafts.map((draft) => ({ ...draft })));
}
