import { type SQL, sql } from "drizzle-orm";
import type { Tx } from "../storage/database.ts";
import type { EventDraft } from "./event.ts";

/**
 * Appends events in the order given; watchers get them if and only if the transaction commits. To be called after the
 * lock of their subject was taken: two facts of one subject have ids in the order in which they became true.
 */
export async function appendEvents(tx: Tx, drafts: readonly EventDraft[]): Promise<void> {
  if (drafts.length === 0) return;
  await tx.execute(eventInsert(drafts));
}

/** The statement that appends events, also as a part of another one: that which makes the facts true. */
export function eventInsert(drafts: readonly EventDraft[]): SQL {
  const column = <T>(read: (draft: EventDraft) => T) => sql.param(drafts.map(read));
  // Sorted before the ids are drawn, so that they follow the order of the drafts.
  return sql`
    INSERT INTO events (project_id, type, subject, agent_id, agent_name, task_id, data)
    SELECT d.project_id, d.type, d.subject, d.agent_id, a.name, d.task_id,
      CASE WHEN a.name IS NULL THEN d.data ELSE jsonb_build_object('agent', a.name) || d.data END
    FROM unnest(
      ${column(({ projectId }) => projectId)}::uuid[], ${column(({ type }) => type)}::text[],
      ${column(({ subject }) => subject)}::text[], ${column(({ agentId }) => agentId ?? null)}::uuid[],
      ${column(({ taskId }) => taskId ?? null)}::uuid[],
      ${column(({ data }) => JSON.stringify(data ?? {}))}::jsonb[]
    ) WITH ORDINALITY AS d(project_id, type, subject, agent_id, task_id, data, place)
    LEFT JOIN agents a ON a.project_id = d.project_id AND a.id = d.agent_id
    ORDER BY d.place`;
}
