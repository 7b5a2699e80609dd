/** Which events a list or a watch wants: one of each kind of filter that is not empty. */
export interface EventFilter {
  readonly types: readonly string[];
  readonly agentNames: readonly string[];
  /** UUIDs, which also find what is left of a removed agent. */
  readonly agentIds: readonly string[];
  /** UUIDs. */
  readonly taskIds: readonly string[];
}

/** What a filter looks at. */
export interface Filtered {
  readonly type: string;
  readonly agentId: string | null;
  readonly agentName: string | null;
  readonly taskId: string | null;
}

/** True where the filter lets everything through. */
export function matchesAll({ types, agentNames, agentIds, taskIds }: EventFilter): boolean {
  return types.length + agentNames.length + agentIds.length + taskIds.length === 0;
}

export function matchEvent(filter: EventFilter, event: Filtered): boolean {
  const { types, agentNames, agentIds, taskIds } = filter;
  if (types.length > 0 && !types.includes(event.type)) return false;
  if (taskIds.length > 0 && !isAmong(event.taskId, taskIds)) return false;
  if (agentNames.length + agentIds.length === 0) return true;
  return isAmong(event.agentName, agentNames) || isAmong(event.agentId, agentIds);
}

function isAmong(value: string | null, wanted: readonly string[]): boolean {
  return value !== null && wanted.includes(value);
}
