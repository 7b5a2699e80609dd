import { and, eq, inArray, isNull, type SQL, sql } from "drizzle-orm";
import type { Db, Tx } from "../storage/database.ts";
import { agentSessions, agentStates, agents, type JsonObject, type Labels } from "../storage/schema.ts";
import type { AgentStatus, Liveness } from "./agent.ts";

/** An agent with its state and its newest session, as lists and answers show it. */
export interface AgentRecord {
  projectId: string;
  id: string;
  name: string;
  labels: Labels;
  capabilities: string[];
  deviceInfo: JsonObject | null;
  gauges: Record<string, number>;
  createdAt: Date;
  status: AgentStatus;
  liveness: Liveness;
  version: bigint;
  epoch: bigint;
  sequence: bigint;
  bootId: string | null;
  lastSeenAt: Date | null;
  statusChangedAt: Date;
  currentTaskId: string | null;
  currentLeaseEpoch: bigint | null;
}

const recordColumns = {
  projectId: agents.projectId,
  id: agents.id,
  name: agents.name,
  labels: agents.labels,
  capabilities: agents.capabilities,
  deviceInfo: agents.deviceInfo,
  gauges: agents.gauges,
  createdAt: agents.createdAt,
  status: agentStates.status,
  liveness: agentStates.liveness,
  version: agentStates.version,
  epoch: agentStates.epoch,
  sequence: agentStates.sequence,
  bootId: agentSessions.bootId,
  lastSeenAt: agentStates.lastSeenAt,
  statusChangedAt: agentStates.statusChangedAt,
  currentTaskId: agentStates.currentTaskId,
  currentLeaseEpoch: agentStates.currentLeaseEpoch,
};

/** The columns and joins of agent records; the caller adds its conditions, order and limit. */
export function selectAgents<Extra extends Record<string, SQL.Aliased | SQL>>(db: Db | Tx, extra: Extra) {
  return db
    .select({ ...recordColumns, ...extra })
    .from(agents)
    .innerJoin(
      agentStates,
      and(eq(agentStates.projectId, agents.projectId), eq(agentStates.agentId, agents.id)),
    )
    .leftJoin(
      agentSessions,
      and(
        eq(agentSessions.projectId, agents.projectId),
        eq(agentSessions.agentId, agents.id),
        eq(agentSessions.epoch, agentStates.epoch),
      ),
    );
}

/** The enrolled agent of that name. */
export async function findAgent(
  db: Db | Tx,
  projectId: string,
  name: string,
): Promise<AgentRecord | undefined> {
  const [row] = await selectAgents(db, {}).where(
    and(eq(agents.projectId, projectId), eq(agents.name, name), isNull(agents.removedAt)),
  );
  return row;
}

/** Names of agents by id, of removed ones too. */
export async function agentNames(
  db: Db | Tx,
  projectId: string,
  ids: string[],
): Promise<Map<string, string>> {
  if (ids.length === 0) return new Map();
  const rows = await db
    .select({ id: agents.id, name: agents.name })
    .from(agents)
    .where(and(eq(agents.projectId, projectId), inArray(agents.id, ids)));
  return new Map(rows.map((row) => [row.id, row.name]));
}

export interface NewAgent {
  projectId: string;
  id: string;
  name: string;
  labels: Labels;
  capabilities: string[];
  deviceInfo: JsonObject | null;
}

/** Adds an agent in state `pending`; false where the name is taken. */
export async function insertAgent(tx: Tx, agent: NewAgent): Promise<boolean> {
  const rows = await tx
    .insert(agents)
    .values(agent)
    .onConflictDoNothing({ target: [agents.projectId, agents.name], where: sql`removed_at IS NULL` })
    .returning({ id: agents.id });
  if (rows.length === 0) return false;
  await tx.insert(agentStates).values({ projectId: agent.projectId, agentId: agent.id });
  return true;
}

/** What a heartbeat may change of an agent besides its state; what is undefined stays. */
export interface AgentProfile {
  labels: Labels | undefined;
  capabilities: string[] | undefined;
  deviceInfo: JsonObject | undefined;
  gauges: Record<string, number> | undefined;
}

export async function updateProfile(
  tx: Tx,
  projectId: string,
  agentId: string,
  profile: AgentProfile,
): Promise<void> {
  const { labels, capabilities, deviceInfo, gauges } = profile;
  const changes = {
    ...(labels !== undefined && { labels }),
    ...(capabilities !== undefined && { capabilities }),
    ...(deviceInfo !== undefined && { deviceInfo }),
    ...(gauges !== undefined && { gauges }),
  };
  if (Object.keys(changes).length === 0) return;
  await tx
    .update(agents)
    .set(changes)
    .where(and(eq(agents.projectId, projectId), eq(agents.id, agentId)));
}

/** The agent's state under its lock. */
export interface LockedState {
  agentId: string;
  status: AgentStatus;
  liveness: Liveness;
  version: bigint;
  epoch: bigint;
  sequence: bigint;
  /** What the newest heartbeat named as the task at hand; null where it named none, or not its own. */
  currentTaskId: string | null;
  currentLeaseEpoch: bigint | null;
  /** Of the newest command; 0 until there was one. */
  commandSequence: bigint;
}

/** Locks the agent's row; undefined where the agent is gone. Locks are taken agent before task. */
export async function lockAgentState(
  tx: Tx,
  projectId: string,
  agentId: string,
): Promise<LockedState | undefined> {
  const [row] = await tx
    .select({
      agentId: agentStates.agentId,
      status: agentStates.status,
      liveness: agentStates.liveness,
      version: agentStates.version,
      epoch: agentStates.epoch,
      sequence: agentStates.sequence,
      currentTaskId: agentStates.currentTaskId,
      currentLeaseEpoch: agentStates.currentLeaseEpoch,
      commandSequence: agentStates.commandSequence,
    })
    .from(agentStates)
    .where(and(eq(agentStates.projectId, projectId), eq(agentStates.agentId, agentId)))
    .for("update");
  return row;
}

/** Locks the agent's row against changes, not against others who only look; undefined where the agent is gone. */
export async function shareAgentState(
  tx: Tx,
  projectId: string,
  agentId: string,
): Promise<AgentStatus | undefined> {
  const [row] = await tx
    .select({ status: agentStates.status })
    .from(agentStates)
    .where(and(eq(agentStates.projectId, projectId), eq(agentStates.agentId, agentId)))
    .for("share");
  return row?.status;
}

/** Writes a state whose row the transaction has locked. `seen` notes a heartbeat by the database's clock. */
export async function writeAgentState(
  tx: Tx,
  projectId: string,
  state: LockedState,
  noted: { seen: boolean; statusChanged: boolean },
): Promise<void> {
  const { agentId, ...columns } = state;
  await tx
    .update(agentStates)
    .set({
      ...columns,
      ...(noted.seen && { lastSeenAt: sql`clock_timestamp()` }),
      ...(noted.statusChanged && { statusChangedAt: sql`clock_timestamp()` }),
    })
    .where(and(eq(agentStates.projectId, projectId), eq(agentStates.agentId, agentId)));
}

/** Removes an agent's state and marks it removed; its name is free from then on. */
export async function markRemoved(tx: Tx, projectId: string, agentId: string): Promise<void> {
  await tx
    .delete(agentSessions)
    .where(and(eq(agentSessions.projectId, projectId), eq(agentSessions.agentId, agentId)));
  await tx
    .delete(agentStates)
    .where(and(eq(agentStates.projectId, projectId), eq(agentStates.agentId, agentId)));
  await tx
    .update(agents)
    .set({ removedAt: sql`clock_timestamp()` })
    .where(and(eq(agents.projectId, projectId), eq(agents.id, agentId)));
}
