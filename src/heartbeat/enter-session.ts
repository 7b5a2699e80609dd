import type { LockedState } from "../agents/agent-store.ts";
import type { AgentCaller } from "../identity/caller.ts";
import { Refusal } from "../runtime/refusal.ts";
import type { Tx } from "../storage/database.ts";
import { findSessionEpoch, type HeartbeatKey, insertSession } from "./heartbeat-store.ts";

/** A beat to be taken; `key` is missing where no session was named. */
export interface NewBeat {
  kind: "new";
  state: LockedState;
  key: HeartbeatKey | undefined;
  sessionIsNew: boolean;
}

/** Where a heartbeat stands among those of its agent. */
export type Place = NewBeat | { kind: "late"; key: HeartbeatKey };

/** Finds the heartbeat's place among those of its agent; a boot_id seen for the first time supersedes the run before. */
export async function enterSession(
  tx: Tx,
  caller: AgentCaller,
  locked: LockedState,
  session: { bootId: string; sequence: bigint } | undefined,
): Promise<Place> {
  if (session === undefined) return { kind: "new", state: locked, key: undefined, sessionIsNew: false };
  const { projectId, agentId } = caller;
  const { bootId, sequence } = session;
  const known = await findSessionEpoch(tx, projectId, agentId, bootId);
  if (known !== undefined && known < locked.epoch) {
    throw new Refusal("aborted", "a newer run of this agent has taken over", {
      reason: "SESSION_SUPERSEDED",
    });
  }
  const epoch = known ?? locked.epoch + 1n;
  const key = { projectId, agentId, epoch, sequence };
  if (known !== undefined && sequence <= locked.sequence) return { kind: "late", key };
  if (known === undefined) await insertSession(tx, { projectId, agentId, bootId, epoch });
  return { kind: "new", state: { ...locked, epoch, sequence }, key, sessionIsNew: known === undefined };
}
