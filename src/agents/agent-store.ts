import { and, eq, inArray, isNull, type SQL, sql } from "drizzle-orm";
import type { Db, Tx } from "../storage/database.ts";
import {
  agentFlaps,
  agentSessions,
  agentStates,
  agentStreams,
  agents,
  type JsonObject,
  type Labels,
} from "../storage/schema.ts";
import type { AgentStatus, Liveness } from "./agent.ts";
import type { CordonState } from "./decide-cordon.ts";
import type { Hearing } from "./decide-hearing.ts";
import { hearingColumn } from "./hearing-column.ts";

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
  /** Lost again and again of late. */
  flapping: boolean;
  /** Null for one that opened no stream of commands in this session. */
  hearing: Hearing | null;
  currentTaskId: string | null;
  currentLeaseEpoch: bigint | null;
  cordon: CordonState;
  cordonReason: string;
  drainDeadlineAt: Date | null;
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
  flapping: sql<boolean>`EXISTS (SELECT 1 FROM agent_flaps f
    WHERE f.project_id = ${agents.projectId} AND f.agent_id = ${agents.id} AND f.flapping)`.as("flapping"),
  hearing: hearingColumn,
  currentTaskId: agentStates.currentTaskId,
  currentLeaseEpoch: agentStates.currentLeaseEpoch,
  cordon: agentStates.cordon,
  cordonReason: agentStates.cordonReason,
  drainDeadlineAt: agentStates.drainDeadlineAt,
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

/** The enrolled agents of these ids, by name. */
export async function findAgents(
  db: Db | Tx,
  projectId: string,
  ids: readonly string[],
): Promise<AgentRecord[]> {
  return await selectAgents(db, {})
    .where(and(eq(agents.projectId, projectId), inArray(agents.id, [...ids])))
    .orderBy(sql`${agents.name} COLLATE "C"`);
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

/** Capabilities and labels of agents, by their ids. */
export async function findOffers(
  db: Db | Tx,
  wanted: readonly { projectId: string; agentId: string }[],
): Promise<Map<string, { capabilities: string[]; labels: Labels }>> {
  const rows = await db.execute<{ id: string; capabilities: string; labels: string }>(sql`
    SELECT a.id, a.capabilities, a.labels
    FROM unnest(
      ${sql.param(wanted.map(({ projectId }) => projectId))}::uuid[],
      ${sql.param(wanted.map(({ agentId }) => agentId))}::uuid[]
    ) AS w(project_id, id)
    JOIN agents a USING (project_id, id)`);
  // The columns hold nothing else.
  return new Map(
    [...rows].map(({ id, capabilities, labels }) => [
      id,
      { capabilities: JSON.parse(capabilities) as string[], labels: JSON.parse(labels) as Labels },
    ]),
  );
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

/** Writes what agents say of themselves, all in one statement; agents that say nothing are left alone. */
export async function updateProfiles(
  tx: Tx,
  profiles: readonly (AgentKey & { profile: AgentProfile })[],
): Promise<void> {
  const input = profiles
    .map(({ projectId, agentId, profile: { labels, capabilities, deviceInfo, gauges } }) => ({
      project_id: projectId,
      agent_id: agentId,
      ...(labels !== undefined && { labels }),
      ...(capabilities !== undefined && { capabilities }),
      ...(deviceInfo !== undefined && { device_info: deviceInfo }),
      ...(gauges !== undefined && { gauges }),
    }))
    .filter((row) => Object.keys(row).length > 2);
  if (input.length === 0) return;
  await tx.execute(sql`
    UPDATE agents a
    SET labels = coalesce(i.labels, a.labels), capabilities = coalesce(i.capabilities, a.capabilities),
      device_info = coalesce(i.device_info, a.device_info), gauges = coalesce(i.gauges, a.gauges)
    FROM jsonb_to_recordset(${JSON.stringify(input)}::jsonb) AS i(project_id uuid, agent_id uuid, labels jsonb,
      capabilities jsonb, device_info jsonb, gauges jsonb)
    WHERE a.project_id = i.project_id AND a.id = i.agent_id`);
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

const lockedColumns = {
  agentId: agentStates.agentId,
  status: agentStates.status,
  liveness: agentStates.liveness,
  version: agentStates.version,
  epoch: agentStates.epoch,
  sequence: agentStates.sequence,
  currentTaskId: agentStates.currentTaskId,
  currentLeaseEpoch: agentStates.currentLeaseEpoch,
  commandSequence: agentStates.commandSequence,
};

/** Locks the agent's row; undefined where the agent is gone. Locks are taken agent before task. */
export async function lockAgentState(
  tx: Tx,
  projectId: string,
  agentId: string,
): Promise<LockedState | undefined> {
  const [row] = await tx
    .select(lockedColumns)
    .from(agentStates)
    .where(and(eq(agentStates.projectId, projectId), eq(agentStates.agentId, agentId)))
    .for("update");
  return row;
}

/** An agent as its rows are found by. */
export interface AgentKey {
  projectId: string;
  agentId: string;
}

/**
 * Locks the rows of several agents, in the order of ids. Those that are gone are left out; so are, without `waiting`,
 * those that someone else has locked.
 */
export async function lockAgentStates(
  tx: Tx,
  keys: readonly AgentKey[],
  { waiting }: { waiting: boolean },
): Promise<LockedState[]> {
  return await tx
    .select(lockedColumns)
    .from(agentStates)
    .where(sql`(${agentStates.projectId}, ${agentStates.agentId}) IN (
      SELECT * FROM unnest(${sql.param(keys.map(({ projectId }) => projectId))}::uuid[],
        ${sql.param(keys.map(({ agentId }) => agentId))}::uuid[]))`)
    .orderBy(agentStates.projectId, agentStates.agentId)
    .for("update", waiting ? {} : { skipLocked: true });
}

/** Locks the agent's row against changes, not against others who only look; undefined where the agent is gone. */
export async function shareAgentState(
  tx: Tx,
  projectId: string,
  agentId: string,
): Promise<{ status: AgentStatus; cordon: CordonState } | undefined> {
  const [row] = await tx
    .select({ status: agentStates.status, cordon: agentStates.cordon })
    .from(agentStates)
    .where(and(eq(agentStates.projectId, projectId), eq(agentStates.agentId, agentId)))
    .for("share");
  return row;
}

/** A state to be written, whose row the transaction has locked. */
export interface StateChange extends AgentKey {
  state: LockedState;
  /** Notes a heartbeat, by the database's clock. */
  seen: boolean;
  /** Notes a change of status, by the database's clock. */
  statusChanged: boolean;
}

/** Writes states whose rows the transaction has locked, all in one statement; the counter of commands is not theirs. */
export async function writeAgentStates(tx: Tx, changes: readonly StateChange[]): Promise<void> {
  if (changes.length === 0) return;
  const input = changes.map(({ projectId, agentId, state, seen, statusChanged }) => ({
    project_id: projectId,
    agent_id: agentId,
    status: state.status,
    liveness: state.liveness,
    version: String(state.version),
    epoch: String(state.epoch),
    sequence: String(state.sequence),
    task: state.currentTaskId,
    lease: state.currentLeaseEpoch === null ? null : String(state.currentLeaseEpoch),
    seen,
    status_changed: statusChanged,
  }));
  await tx.execute(sql`
    UPDATE agent_states s
    SET status = i.status, liveness = i.liveness, version = i.version, epoch = i.epoch, sequence = i.sequence,
      current_task_id = i.task, current_lease_epoch = i.lease,
      last_seen_at = CASE WHEN i.seen THEN clock_timestamp() ELSE s.last_seen_at END,
      status_changed_at = CASE WHEN i.status_changed THEN clock_timestamp() ELSE s.status_changed_at END
    FROM jsonb_to_recordset(${JSON.stringify(input)}::jsonb) AS i(project_id uuid, agent_id uuid, status text,
      liveness text, version bigint, epoch bigint, sequence bigint, task uuid, lease bigint, seen boolean,
      status_changed boolean)
    WHERE s.project_id = i.project_id AND s.agent_id = i.agent_id`);
}

/** Removes an agent's state and marks it removed; its name is free from then on. */
export async function markRemoved(tx: Tx, projectId: string, agentId: string): Promise<void> {
  await tx
    .delete(agentSessions)
    .where(and(eq(agentSessions.projectId, projectId), eq(agentSessions.agentId, agentId)));
  await tx
    .delete(agentFlaps)
    .where(and(eq(agentFlaps.projectId, projectId), eq(agentFlaps.agentId, agentId)));
  await tx
    .delete(agentStreams)
    .where(and(eq(agentStreams.projectId, projectId), eq(agentStreams.agentId, agentId)));
  await tx
    .delete(agentStates)
    .where(and(eq(agentStates.projectId, projectId), eq(agentStates.agentId, agentId)));
  await tx
    .update(agents)
    .set({ removedAt: sql`clock_timestamp()` })
    .where(and(eq(agents.projectId, projectId), eq(agents.id, agentId)));
}
