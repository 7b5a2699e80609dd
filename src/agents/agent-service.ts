import { appendAudit } from "../audit/audit-log.ts";
import { appendEvents } from "../events/outbox.ts";
import type { EnrollmentCaller } from "../identity/caller.ts";
import { unauthenticated } from "../identity/unauthenticated.ts";
import { invalidField, Refusal } from "../runtime/refusal.ts";
import { formatId, newUuid, parseId } from "../runtime/resource-id.ts";
import type { Db, Tx } from "../storage/database.ts";
import type { JsonObject, Labels } from "../storage/schema.ts";
import { countEnrollment, createToken, keepOnly, lockEnrollmentToken } from "../tokens/token-service.ts";
import type { AgentStatus } from "./agent.ts";
import {
  type AgentKey,
  type AgentProfile,
  type AgentRecord,
  findAgent,
  findAgents,
  findOffers,
  insertAgent,
  type LockedState,
  lockAgentState,
  lockAgentStates,
  markRemoved,
  type StateChange,
  shareAgentState,
  updateProfiles,
  writeAgentStates,
} from "./agent-store.ts";
import { findUncordoned } from "./cordon-store.ts";
import type { CordonState } from "./decide-cordon.ts";
import { findEnrollment, rememberEnrollment } from "./enrollment-store.ts";

const MAX_LABELS = 64;

/** The project's agent of that name, or NOT_FOUND. */
export async function requireAgent(db: Db | Tx, projectId: string, name: string): Promise<AgentRecord> {
  const agent = await findAgent(db, projectId, name);
  if (agent === undefined) throw new Refusal("not-found", `no agent named ${name}`);
  return agent;
}

/** The project's agents of these ids, by name; those that are gone are left out. */
export async function readAgents(
  db: Db | Tx,
  projectId: string,
  ids: readonly string[],
): Promise<AgentRecord[]> {
  return await findAgents(db, projectId, ids);
}

export interface EnrollmentWish {
  name: string;
  /** Empty: this enrollment cannot be repeated. */
  nonce: string;
  labels: Labels;
  capabilities: string[];
  deviceInfo: JsonObject | null;
  agentTokenTtlMs: number;
}

export interface Enrolled {
  agent: AgentRecord;
  /** The agent's token. */
  secret: string;
}

/**
 * Makes an agent and its token, and counts one use of the enrollment token. A nonce seen before on this token for this
 * name is the same enrollment again: it counts nothing and gets a new secret, which ends every one before. A nonce is
 * the name's own, so that a machine image may carry one for all agents that are made of it.
 */
export async function enrollAgent(tx: Tx, caller: EnrollmentCaller, wish: EnrollmentWish): Promise<Enrolled> {
  const { projectId, tokenId } = caller;
  const { nonce, name } = wish;
  await lockEnrollmentToken(tx, tokenId);
  const earlier = nonce === "" ? undefined : await findEnrollment(tx, { projectId, tokenId, nonce, name });
  return earlier === undefined
    ? await enrollNew(tx, caller, wish)
    : await withToken(tx, caller, wish, earlier);
}

async function enrollNew(tx: Tx, caller: EnrollmentCaller, wish: EnrollmentWish): Promise<Enrolled> {
  if (!(await countEnrollment(tx, caller.tokenId))) {
    throw new Refusal("unauthenticated", "this enrollment token is used up", {
      reason: "ENROLLMENT_TOKEN_USED_UP",
      headers: unauthenticated().headers,
    });
  }
  const { projectId } = caller;
  // The operator who minted the token has the last word on labels.
  const labels = { ...wish.labels, ...caller.labels };
  if (Object.keys(labels).length > MAX_LABELS) {
    throw invalidField("labels", `at most ${MAX_LABELS} together with those of the enrollment token`);
  }
  const id = newUuid();
  const { name, nonce, capabilities, deviceInfo } = wish;
  if (!(await insertAgent(tx, { projectId, id, name, labels, capabilities, deviceInfo }))) {
    throw new Refusal("already-exists", `an agent named ${name} is enrolled`);
  }
  if (nonce !== "") await rememberEnrollment(tx, { projectId, tokenId: caller.tokenId, nonce, agentId: id });
  const { actor } = caller;
  const subject = formatId("agent", id);
  await appendAudit(tx, [{ projectId, actor, action: "agent.enrolled", subject, to: name }]);
  await appendEvents(tx, [
    { projectId, type: "agent.enrolled", subject, agentId: id, data: { actor, labels } },
  ]);
  return await withToken(tx, caller, wish, id);
}

async function withToken(
  tx: Tx,
  caller: EnrollmentCaller,
  wish: EnrollmentWish,
  agentId: string,
): Promise<Enrolled> {
  const { projectId, actor } = caller;
  const minted = await createToken(tx, {
    projectId,
    role: "agent",
    actor,
    agentId,
    ttlMs: wish.agentTokenTtlMs,
  });
  await keepOnly(tx, projectId, agentId, minted.tokenId, actor);
  return { agent: await requireAgent(tx, projectId, wish.name), secret: minted.text };
}

/** The id of an agent, by its name or by its id, which also finds one that was removed. */
export async function findAgentId(
  db: Db | Tx,
  projectId: string,
  nameOrId: string,
): Promise<string | undefined> {
  const agent = await findAgent(db, projectId, nameOrId);
  return agent?.id ?? parseId("agent", nameOrId);
}

/** Locks the agent's row; NOT_FOUND where the agent was removed meanwhile. */
export async function lockAgent(tx: Tx, projectId: string, agentId: string): Promise<LockedState> {
  const state = await lockAgentState(tx, projectId, agentId);
  if (state === undefined) throw agentRemoved();
  return state;
}

/** Locks the agent's row where there still is one. */
export async function lockAgentIfThere(
  tx: Tx,
  projectId: string,
  agentId: string,
): Promise<LockedState | undefined> {
  return await lockAgentState(tx, projectId, agentId);
}

/** Locks the rows of several agents, in the order of ids; see lockAgentStates for those that it leaves out. */
export async function lockAgents(
  tx: Tx,
  keys: readonly AgentKey[],
  how: { waiting: boolean },
): Promise<Map<string, LockedState>> {
  const states = await lockAgentStates(tx, keys, how);
  return new Map(states.map((state) => [state.agentId, state]));
}

/**
 * Keeps the agent as it is until the transaction ends, beside others who do the same; resolves to its status. NOT_FOUND
 * where the agent was removed meanwhile. Taken before any lock on a task.
 */
export async function shareAgent(tx: Tx, projectId: string, agentId: string): Promise<AgentStatus> {
  return (await shareTaker(tx, projectId, agentId)).status;
}

/** Does the same for an agent that would like work: whether it gets any depends on its cordon too. */
export async function shareTaker(
  tx: Tx,
  projectId: string,
  agentId: string,
): Promise<{ status: AgentStatus; cordon: CordonState }> {
  const shared = await shareAgentState(tx, projectId, agentId);
  if (shared === undefined) throw agentRemoved();
  return shared;
}

/** What an agent has to offer to tasks. */
export async function readOffer(
  tx: Tx,
  projectId: string,
  agentId: string,
): Promise<{ capabilities: string[]; labels: Labels }> {
  const offers = await findOffers(tx, [{ projectId, agentId }]);
  const offer = offers.get(agentId);
  if (offer === undefined) throw agentRemoved();
  return offer;
}

/** What those of the agents have to offer to tasks that are neither cordoned nor draining, as far as anybody knows now. */
export async function readOffersOfTakers(
  db: Db,
  agents: readonly AgentKey[],
): Promise<Map<string, { capabilities: string[]; labels: Labels }>> {
  const takers = await findUncordoned(db, agents);
  return await findOffers(
    db,
    agents.filter(({ agentId }) => takers.has(agentId)),
  );
}

/** What agents have to offer to tasks, by their ids. */
export async function readOffers(
  db: Db,
  agents: readonly { projectId: string; agentId: string }[],
): Promise<Map<string, { capabilities: string[]; labels: Labels }>> {
  return await findOffers(db, agents);
}

/** What a call of an agent is told that was removed meanwhile. */
export function agentRemoved(): Refusal {
  return new Refusal("not-found", "this agent was removed", { reason: "AGENT_REMOVED" });
}

/** Writes a state whose row the transaction has locked. `seen` notes a heartbeat by the database's clock. */
export async function saveAgentState(
  tx: Tx,
  projectId: string,
  state: LockedState,
  noted: { seen: boolean; statusChanged: boolean },
): Promise<void> {
  await writeAgentStates(tx, [{ projectId, agentId: state.agentId, state, ...noted }]);
}

/** Writes the states of several agents whose rows the transaction has locked. */
export async function saveAgentStates(tx: Tx, changes: readonly StateChange[]): Promise<void> {
  await writeAgentStates(tx, changes);
}

/** Writes what heartbeats say of their agents besides their state; what is undefined stays. */
export async function saveProfiles(
  tx: Tx,
  profiles: readonly (AgentKey & { profile: AgentProfile })[],
): Promise<void> {
  await updateProfiles(tx, profiles);
}

/** Ends an agent whose row the transaction has locked: its name is free, what it left behind stays under its id. */
export async function forgetAgent(tx: Tx, projectId: string, agentId: string): Promise<void> {
  await markRemoved(tx, projectId, agentId);
}
