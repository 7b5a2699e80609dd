import type { LockedState } from "../agents/agent-store.ts";
import type { AgentCaller } from "../identity/caller.ts";
import { Refusal } from "../runtime/refusal.ts";
import type { Tx } from "../storage/database.ts";
import type { HeartbeatSession } from "./heartbeat.ts";
import { findSessionEpochs, type HeartbeatKey, insertSessions, type NewSession } from "./heartbeat-store.ts";

/** A beat to be taken; `key` is missing where no sequence was named. */
export interface NewBeat {
  readonly kind: "new";
  readonly state: LockedState;
  readonly key: HeartbeatKey | undefined;
  /** The session that begins by it, to be remembered. */
  readonly begins: NewSession | undefined;
  /** Nothing was heard of the session before. */
  readonly sessionIsNew: boolean;
}

/** Where a heartbeat stands among those of its agent. */
export type Place =
  | NewBeat
  | { readonly kind: "late"; readonly key: HeartbeatKey }
  | { readonly kind: "superseded" };

/**
 * Decides where a heartbeat stands among those of its agent. `known` is the epoch of its run; a run that has none yet
 * gets the next one and supersedes the run before.
 */
export function decidePlace(
  { projectId, agentId }: Pick<AgentCaller, "projectId" | "agentId">,
  locked: LockedState,
  session: HeartbeatSession | undefined,
  known: bigint | undefined,
): Place {
  if (session === undefined) {
    return { kind: "new", state: locked, key: undefined, begins: undefined, sessionIsNew: false };
  }
  const { bootId, sequence } = session;
  if (known !== undefined && known < locked.epoch) return { kind: "superseded" };
  const isNew = known === undefined;
  const epoch = known ?? locked.epoch + 1n;
  const key = sequence === undefined ? undefined : { projectId, agentId, epoch, sequence };
  if (!isNew && key !== undefined && key.sequence <= locked.sequence) return { kind: "late", key };
  const newest = isNew ? NO_SEQUENCE : locked.sequence;
  return {
    kind: "new",
    state: { ...locked, epoch, sequence: sequence ?? newest },
    key,
    begins: isNew ? { projectId, agentId, bootId, epoch } : undefined,
    // A stream's hello makes the session of a run before anything else is heard of it.
    sessionIsNew: isNew || (key !== undefined && newest === NO_SEQUENCE),
  };
}

/** The state of an agent after a run of its process said hello on a stream; the run supersedes the one before. */
export async function enterByHello(
  tx: Tx,
  { projectId, agentId }: AgentCaller,
  locked: LockedState,
  bootId: string,
): Promise<{ state: LockedState; isNew: boolean }> {
  const known = (await findSessionEpochs(tx, [{ projectId, agentId, bootId }])).get(agentId);
  const place = decidePlace({ projectId, agentId }, locked, { bootId, sequence: undefined }, known);
  if (place.kind !== "new") throw sessionSuperseded();
  if (place.begins !== undefined) await insertSessions(tx, [place.begins]);
  return { state: place.state, isNew: place.begins !== undefined };
}

/** What a run of an agent's process is told once a newer one has begun. */
export function sessionSuperseded(): Refusal {
  return new Refusal("aborted", "a newer run of this agent has taken over", { reason: "SESSION_SUPERSEDED" });
}

/** Below every sequence: no heartbeat of the session was taken yet. */
const NO_SEQUENCE = -1n;
