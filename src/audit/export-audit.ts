import { setTimeout as delay } from "node:timers/promises";
import type { Caller } from "../identity/caller.ts";
import { confirmCaller } from "../identity/confirm-caller.ts";
import { Refusal } from "../runtime/refusal.ts";
import { parseId } from "../runtime/resource-id.ts";
import type { Db } from "../storage/database.ts";
import {
  type AuditFilter,
  type AuditRow,
  findPlace,
  findSettled,
  listAudit,
  readMoment,
} from "./audit-log.ts";

/** Entries that are held at a time, whatever their number and however slowly they are read. */
const PAGE = 500;
const SETTLE_WITHIN_MS = 5_000;
const LOOK_EVERY_MS = 20;
/** Within a second of a revocation nothing is delivered any more. */
const CONFIRM_EVERY_MS = 400;

/**
 * All entries that fit and were committed before the call, the oldest first, after the entry of that id where one is
 * named. Throws OUT_OF_RANGE for an entry that is not kept any more, UNAUTHENTICATED once the caller's token is revoked.
 */
export async function* exportAudit(
  db: Db,
  caller: Caller,
  filter: AuditFilter,
  afterId: string,
  signal: AbortSignal,
): AsyncGenerator<AuditRow> {
  let after = afterId === "" ? undefined : await placeOf(db, filter.projectId, afterId);
  const settledBefore = await untilSettled(db, signal);
  let confirmedAtMs = performance.now();
  for (;;) {
    signal.throwIfAborted();
    const found = await listAudit(db, { ...filter, settledBefore, oldestFirst: true }, { size: PAGE, after });
    const rows = found.slice(0, PAGE);
    for (const row of rows) {
      // A slow reader takes its time over a page.
      if (performance.now() - confirmedAtMs > CONFIRM_EVERY_MS) {
        await confirmCaller(db, caller);
        confirmedAtMs = performance.now();
      }
      yield row;
    }
    const last = rows.at(-1);
    if (found.length <= PAGE || last === undefined) return;
    after = [last.sortTime, last.id];
  }
}

/** Waits for what is being written while the call comes in, for as long as is reasonable. */
async function untilSettled(db: Db, signal: AbortSignal): Promise<string> {
  const moment = await readMoment(db);
  const giveUpAtMs = performance.now() + SETTLE_WITHIN_MS;
  for (;;) {
    const { before, isMoment } = await findSettled(db, moment);
    if (isMoment || performance.now() > giveUpAtMs) return before;
    await delay(LOOK_EVERY_MS, undefined, { signal });
  }
}

async function placeOf(db: Db, projectId: string, afterId: string): Promise<string[]> {
  const uuid = parseId("audit", afterId);
  const place = uuid === undefined ? undefined : await findPlace(db, projectId, uuid);
  if (place !== undefined) return place;
  throw new Refusal("out-of-range", "the entry that the export is to go on after is not kept any more", {
    reason: "ENTRY_PRUNED",
  });
}
