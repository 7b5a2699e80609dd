import { invalidField } from "../runtime/refusal.ts";
import { parseId } from "../runtime/resource-id.ts";
import { eventTypes } from "./event.ts";
import type { EventFilter } from "./match-event.ts";

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** Reads the filters of a request; one that can match nothing is refused, since it is a mistake. Throws INVALID_ARGUMENT. */
export function readFilter(request: { types: string[]; agents: string[]; tasks: string[] }): EventFilter {
  const [agentNames, agentIds]: [string[], string[]] = [[], []];
  for (const [index, agent] of request.agents.entries()) {
    if (!namePattern.test(agent)) throw invalidField(`agents[${index}]`, "must be an agent's name or id");
    const id = parseId("agent", agent);
    if (id === undefined) agentNames.push(agent);
    else agentIds.push(id);
  }
  return {
    types: request.types.flatMap((type, index) => typesOf(type, `types[${index}]`)),
    agentNames,
    agentIds,
    taskIds: request.tasks.map((task, index) => {
      const id = parseId("task", task);
      if (id === undefined) throw invalidField(`tasks[${index}]`, "must be task_ and a UUID");
      return id;
    }),
  };
}

function typesOf(text: string, field: string): string[] {
  const wanted = text.endsWith(".*")
    ? eventTypes.filter((type) => type.startsWith(text.slice(0, -1)))
    : eventTypes.filter((type) => type === text);
  if (wanted.length === 0)
    throw invalidField(
      field,
      "must be a type of event such as task.leased, or a group of them such as task.*",
    );
  return wanted;
}
