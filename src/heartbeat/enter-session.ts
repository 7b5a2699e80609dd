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
  session: { bootId: string; sequence: bigint | undefined } | undefined,
): Promise<Place> {
  if (session === undefined) return { kind: "new", state: locked, key: undefined, sessionIsNew: false };
  const { projectId, agentId } = caller;
  const { bootId, sequence } = session;
  const { epoch, isNew } = await findRun(tx, caller, locked, bootId);
  const key = sequence === undefined ? undefined : { projectId, agentId, epoch, sequence };
  if (!isNew && key !== undefined && key.sequence <= locked.sequence) return { kind: "late", key };
  if (isNew) await insertSession(tx, { projectId, agentId, bootId, epoch });
  const newest = isNew ? NO_SEQUENCE : locked.sequence;
  return {
    kind: "new",
    state: { ...locked, epoch, sequence: sequence ?? newest },
    key,
    // A stream's hello makes the session of a run before anything else is heard of it.
    sessionIsNew: isNew || (key !== undefined && newest === NO_SEQUENCE),
  };
}

/** The state of an agent after a run of its process said hello on a stream; the run supersedes the one before. */
export async function enterByHello(
  tx: Tx,
  caller: AgentCaller,
  locked: LockedState,
  bootId: string,
): Promise<{ state: LockedState; isNew: boolean }> {
  const { projectId, agentId } = caller;
  const { epoch, isNew } = await findRun(tx, caller, locked, bootId);
  if (!isNew) return { state: locked, isNew };
  await insertSession(tx, { projectId, agentId, bootId, epoch });
  return { state: { ...locked, epoch, sequence: NO_SEQUENCE }, isNew };
}

/** What a run of an agent's process is told once a newer one has begun. */
export function sessionSuperseded(): Refusal {
  return new Refusal("aborted", "a newer run of this agent has taken over", { reason: "SESSION_SUPERSEDED" });
}

/** Below every sequence: no heartbeat of the session was taken yet. */
const NO_SEQUENCE = -1n;

/** The epoch of a run of the agent's process; a boot_id seen for the first time gets the next one. Throws ABORTED. */
async function findRun(
  tx: Tx,
  { projectId, agentId }: AgentCaller,
  locked: LockedState,
  bootId: string,
): Promise<{ epoch: bigint; isNew: boolean }> {
  const known = await findSessionEpoch(tx, projectId, agentId, bootId);
  if (known !== undefined && known < locked.epoch) throw sessionSuperseded();
  return { epoch: known ?? locked.epoch + 1n, isNew: known === undefined };
}
