import { sql } from "drizzle-orm";
import type { AgentStatus, Liveness } from "../agents/agent.ts";
import type { CordonState } from "../agents/decide-cordon.ts";
import type { Db } from "../storage/database.ts";
import type { Labels } from "../storage/schema.ts";
import type { AgentFacts } from "./explanation.ts";
import type { Requirements } from "./match-task.ts";
import { requirementSetId } from "./requirement-store.ts";

type StoredFacts = Omit<AgentFacts, "asks">;

interface AgentRow extends Record<string, unknown> {
  id: string;
  name: string;
  status: AgentStatus;
  liveness: Liveness;
  cordon: CordonState;
  cordon_reason: string;
  capabilities: string;
  labels: string;
  held: number;
}

const agentColumns = sql.raw(`a.id, a.name, s.status, s.liveness, s.cordon, s.cordon_reason,
  a.capabilities, a.labels,
  (SELECT count(*)::int FROM tasks t WHERE t.project_id = a.project_id AND t.agent_id = a.id
    AND t.state IN ('leased', 'running')) AS held`);
const agentTables = sql.raw(
  "agents a JOIN agent_states s ON s.project_id = a.project_id AND s.agent_id = a.id",
);

function factsOf(row: AgentRow): StoredFacts {
  const { id, name, status, liveness, cordon, cordon_reason: cordonReason, held } = row;
  // The columns hold nothing else.
  const offer = {
    capabilities: JSON.parse(row.capabilities) as string[],
    labels: JSON.parse(row.labels) as Labels,
  };
  return { id, name, status, liveness, cordon, cordonReason, offer, held };
}

/** The agents that are likeliest to run such a task, up to `limit`, and how many there are. */
export async function findCandidates(
  db: Db,
  projectId: string,
  { capabilities, labels }: Requirements,
  limit: number,
): Promise<{ agents: StoredFacts[]; total: number; matching: number }> {
  const matches = sql`(a.capabilities @> ${JSON.stringify(capabilities)}::jsonb
    AND a.labels @> ${JSON.stringify(labels)}::jsonb)`;
  const rows = await db.execute<AgentRow & { total: number; matching: number }>(sql`
    SELECT ${agentColumns}, count(*) OVER ()::int AS total, count(*) FILTER (WHERE ${matches}) OVER ()::int AS matching
    FROM ${agentTables}
    WHERE a.project_id = ${projectId} AND a.removed_at IS NULL
    ORDER BY ${matches} DESC, s.status = 'error', s.cordon <> 'none',
      array_position(ARRAY['live', 'stale', 'never', 'offline'], s.liveness),
      a.name COLLATE "C"
    LIMIT ${limit}`);
  const [first] = rows;
  return { agents: [...rows].map(factsOf), total: first?.total ?? 0, matching: first?.matching ?? 0 };
}

/** One agent as it is now; undefined where it was removed. */
export async function findAgentFacts(
  db: Db,
  projectId: string,
  agentId: string,
): Promise<StoredFacts | undefined> {
  const [row] = await db.execute<AgentRow>(sql`
    SELECT ${agentColumns} FROM ${agentTables} WHERE a.project_id = ${projectId} AND a.id = ${agentId}`);
  return row && factsOf(row);
}

/** How a pending task stands: until when it waits, and how many due tasks of its kind and requirements go first. */
export async function findPlace(
  db: Db,
  projectId: string,
  taskId: string,
  requirements: Requirements,
  limit: number,
): Promise<{
  waitsUntil: string | undefined;
  waitsByWish: boolean;
  agentId: string | undefined;
  ahead: number;
}> {
  const [row] = await db.execute<{
    waits_until: string | null;
    by_wish: boolean | null;
    agent_id: string | null;
    ahead: number;
  }>(sql`
    SELECT CASE WHEN t.due_at > clock_timestamp() THEN
        to_char(t.due_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') END AS waits_until,
      t.due_at = t.not_before AS by_wish, t.agent_id,
      CASE WHEN t.state = 'pending' THEN (SELECT count(*)::int FROM (
        SELECT 1 FROM tasks o
        WHERE o.project_id = t.project_id AND o.kind = t.kind AND o.state = 'pending'
          AND o.requirement_set = ${requirementSetId(requirements)} AND o.due_at <= clock_timestamp()
          AND (o.priority > t.priority OR (o.priority = t.priority AND (o.due_at, o.id) < (t.due_at, t.id)))
        LIMIT ${limit}) first) ELSE 0 END AS ahead
    FROM tasks t WHERE t.project_id = ${projectId} AND t.id = ${taskId}`);
  return {
    waitsUntil: row?.waits_until ?? undefined,
    waitsByWish: row?.by_wish ?? false,
    agentId: row?.agent_id ?? undefined,
    ahead: row?.ahead ?? 0,
  };
}

/** A task that an agent holds. */
export interface HeldTask {
  taskId: string;
  kind: string;
  state: "leased" | "running";
}

/** What an agent holds, the oldest loan first. */
export async function listHeld(
  db: Db,
  projectId: string,
  agentId: string,
  limit: number,
): Promise<HeldTask[]> {
  const rows = await db.execute<{ id: string; kind: string; state: "leased" | "running" }>(sql`
    SELECT id, kind, state FROM tasks
    WHERE project_id = ${projectId} AND agent_id = ${agentId} AND state IN ('leased', 'running')
    ORDER BY leased_at LIMIT ${limit}`);
  return [...rows].map(({ id, kind, state }) => ({ taskId: id, kind, state }));
}
