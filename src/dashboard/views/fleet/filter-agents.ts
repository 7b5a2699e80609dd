import type { Agent } from "../../../../gen/drover/v1/agent_pb.js";
import type { AgentRow } from "../../live/agent-row.ts";

export interface FleetFilter {
  readonly search: string;
  /** Keys of words of status and liveness, and of conditions; all within one group are alternatives. */
  readonly statuses: ReadonlySet<string>;
  readonly livenesses: ReadonlySet<string>;
  readonly conditions: ReadonlySet<string>;
}

/** What else an agent can be, besides its status and liveness, in the order in which the page shows it. */
export interface Condition {
  readonly key: string;
  readonly label: string;
  readonly explains: string;
  readonly holds: (agent: Agent) => boolean;
}

export const sortOrders = {
  attention: "Needs attention first",
  name: "Name",
  heartbeat: "Heartbeat, newest first",
  errors: "Errors, most first",
} as const;
export type SortOrder = keyof typeof sortOrders;

/** The rows that a filter lets through. Words of a search have all to be found. */
export function filterAgents(
  rows: Iterable<AgentRow>,
  filter: FleetFilter,
  conditions: readonly Condition[],
): AgentRow[] {
  const words = filter.search.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = conditions.filter(({ key }) => filter.conditions.has(key));
  const found: AgentRow[] = [];
  for (const row of rows) {
    if (filter.statuses.size > 0 && !filter.statuses.has(row.status.key)) continue;
    if (filter.livenesses.size > 0 && !filter.livenesses.has(row.liveness.key)) continue;
    if (chosen.length > 0 && !chosen.some(({ holds }) => holds(row.agent))) continue;
    if (words.every((word) => row.text.includes(word))) found.push(row);
  }
  return found;
}

const collator = new Intl.Collator(undefined, { numeric: true });
const byName = (a: AgentRow, b: AgentRow): number => collator.compare(a.name, b.name);

const comparisons = {
  attention: (a, b) => Math.floor(b.rank) - Math.floor(a.rank) || b.rank - a.rank || byName(a, b),
  name: byName,
  heartbeat: (a, b) => (b.lastBeatMs ?? 0) - (a.lastBeatMs ?? 0) || byName(a, b),
  errors: (a, b) => errorsOf(b) - errorsOf(a) || byName(a, b),
} satisfies Record<SortOrder, (a: AgentRow, b: AgentRow) => number>;

const errorsOf = ({ agent }: AgentRow): number => agent.recentErrors?.count ?? 0;

export function sortAgents(rows: AgentRow[], order: SortOrder): AgentRow[] {
  return rows.sort(comparisons[order]);
}
