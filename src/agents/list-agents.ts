import { and, asc, desc, eq, inArray, isNull, type SQL, sql } from "drizzle-orm";
import type { Db, Tx } from "../storage/database.ts";
import type { PageRequest, SortKey } from "../storage/page.ts";
import { agentStates, agents, type Labels } from "../storage/schema.ts";
import type { AgentStatus, Liveness } from "./agent.ts";
import { type AgentRecord, selectAgents } from "./agent-store.ts";
import type { CordonState } from "./decide-cordon.ts";

/** What agents can be listed by. */
export type AgentOrder = "name" | "created_at" | "last_heartbeat_at";

export interface AgentFilter {
  projectId: string;
  statuses: AgentStatus[];
  livenesses: Liveness[];
  cordons: CordonState[];
  namePrefix: string;
  labels: Labels;
}

/** An agent with the value that its place in the list goes by. */
export type ListedAgent = AgentRecord & { sortValue: string };

const orders = {
  name: { key: "name", expression: sql`${agents.name} COLLATE "C"`, cast: sql.raw(`text COLLATE "C"`) },
  created_at: { key: "instant", expression: sql`${agents.createdAt}`, cast: sql.raw("timestamptz") },
  // An agent that was never heard sorts before all others.
  last_heartbeat_at: {
    key: "instant",
    expression: sql`coalesce(${agentStates.lastSeenAt}, '-infinity')`,
    cast: sql.raw("timestamptz"),
  },
} satisfies Record<AgentOrder, { key: SortKey; expression: SQL; cast: SQL }>;

/** What a page token of that order holds. */
export function sortKeysOf(order: AgentOrder): SortKey[] {
  return [orders[order].key, "uuid"];
}

/** One row more than the page's size. */
export async function listAgents(
  db: Db | Tx,
  filter: AgentFilter,
  order: { by: AgentOrder; descending: boolean },
  page: PageRequest,
): Promise<ListedAgent[]> {
  const { expression, cast } = orders[order.by];
  const conditions: SQL[] = [eq(agents.projectId, filter.projectId), isNull(agents.removedAt)];
  if (filter.statuses.length > 0) conditions.push(inArray(agentStates.status, filter.statuses));
  if (filter.livenesses.length > 0) conditions.push(inArray(agentStates.liveness, filter.livenesses));
  if (filter.cordons.length > 0) conditions.push(inArray(agentStates.cordon, filter.cordons));
  if (filter.namePrefix !== "") conditions.push(sql`starts_with(${agents.name}, ${filter.namePrefix})`);
  if (Object.keys(filter.labels).length > 0) {
    conditions.push(sql`${agents.labels} @> ${JSON.stringify(filter.labels)}::jsonb`);
  }
  if (page.after !== undefined) {
    const [value, id] = page.after;
    const row = sql`(${expression}, ${agents.id})`;
    const place = sql`(${value}::${cast}, ${id}::uuid)`;
    conditions.push(order.descending ? sql`${row} < ${place}` : sql`${row} > ${place}`);
  }
  const direction = order.descending ? desc : asc;
  return await selectAgents(db, { sortValue: sql<string>`(${expression})::text`.as("sort_value") })
    .where(and(...conditions))
    .orderBy(direction(expression), direction(agents.id))
    .limit(page.size + 1);
}
