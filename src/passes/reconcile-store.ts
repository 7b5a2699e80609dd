import { sql } from "drizzle-orm";
import type { Db, Tx } from "../storage/database.ts";
import type { IssueAtHand } from "./plan-issue.ts";

/** An issue that is out of line, with what its tasks and its rule's need. */
export interface IssueOutOfLine extends IssueAtHand {
  id: string;
  number: string;
  title: string;
  repository: string;
  rule: { taskKind: string; priority: number } | undefined;
}

/**
 * Locks up to `limit` issues behind `after` (an id; the nil UUID for the first) about which something is to be done, in
 * the order of ids. Tasks belong to an issue by the rule that made them, or by their label `issue`, its address.
 */
export async function lockIssuesOutOfLine(
  tx: Tx,
  projectId: string,
  after: string,
  limit: number,
): Promise<IssueOutOfLine[]> {
  const rows = await tx.execute<{
    id: string;
    number: bigint;
    url: string;
    title: string;
    state: "open" | "closed";
    upstream_state: "open" | "closed";
    labels: string[];
    repository: string;
    rule_label: string | null;
    rule_task_kind: string | null;
    rule_priority: number | null;
    rule_task_id: string | null;
    open_tasks: string[];
  }>(sql`
    WITH open_tasks AS MATERIALIZED (
      SELECT id, labels ->> 'issue' AS url FROM tasks
      WHERE project_id = ${projectId} AND labels ->> 'issue' IS NOT NULL AND state IN ('pending', 'leased', 'running')
    ), out_of_line AS (
      SELECT id FROM issues WHERE project_id = ${projectId} AND state <> upstream_state
      UNION
      SELECT i.id FROM open_tasks t JOIN issues i ON i.project_id = ${projectId} AND i.url = t.url
      WHERE i.upstream_state = 'closed'
      UNION
      SELECT i.id FROM trackers k
      JOIN issues i ON i.project_id = k.project_id AND i.tracker_id = k.id AND i.upstream_state = 'open'
      WHERE k.project_id = ${projectId} AND k.rule_label IS NOT NULL AND i.rule_task_id IS NULL
        AND i.labels @> jsonb_build_array(k.rule_label)
      UNION
      SELECT i.id FROM issues i
      JOIN trackers k ON k.project_id = i.project_id AND k.id = i.tracker_id
      JOIN tasks t ON t.project_id = i.project_id AND t.id = i.rule_task_id AND t.state IN ('pending', 'leased', 'running')
      WHERE i.project_id = ${projectId} AND i.rule_task_id IS NOT NULL
        AND (i.upstream_state = 'closed' OR k.rule_label IS NULL OR NOT i.labels @> jsonb_build_array(k.rule_label))
    )
    SELECT i.id, i.number, i.url, i.title, i.state, i.upstream_state,
      ARRAY(SELECT jsonb_array_elements_text(i.labels)) AS labels, i.rule_task_id, k.repository, k.rule_label,
      k.rule_task_kind, k.rule_priority, ARRAY(
        SELECT t.id FROM open_tasks t WHERE t.url = i.url
        UNION
        SELECT t.id FROM tasks t WHERE t.project_id = i.project_id AND t.id = i.rule_task_id
          AND t.state IN ('pending', 'leased', 'running')
      ) AS open_tasks
    FROM issues i JOIN trackers k ON k.project_id = i.project_id AND k.id = i.tracker_id
    WHERE i.project_id = ${projectId} AND i.id IN (SELECT id FROM out_of_line) AND i.id > ${after}::uuid
      AND NOT k.disabled
    ORDER BY i.id LIMIT ${limit} FOR UPDATE OF i`);
  return [...rows].map((row) => ({
    id: row.id,
    number: String(row.number),
    url: row.url,
    title: row.title,
    state: row.state,
    upstreamState: row.upstream_state,
    labels: row.labels,
    repository: row.repository,
    ruleLabel: row.rule_label ?? undefined,
    rule:
      row.rule_task_kind === null || row.rule_priority === null
        ? undefined
        : { taskKind: row.rule_task_kind, priority: row.rule_priority },
    ruleTaskId: row.rule_task_id ?? undefined,
    openTaskIds: row.open_tasks,
  }));
}

/** Agents that were removed, or never were, and still hold tasks of the project. */
export async function findGoneHolders(
  db: Db | Tx,
  projectId: string,
  limit: number,
): Promise<{ projectId: string; agentId: string }[]> {
  const rows = await db.execute<{ agent_id: string }>(sql`
    SELECT DISTINCT t.agent_id FROM tasks t
    LEFT JOIN agents a ON a.project_id = t.project_id AND a.id = t.agent_id AND a.removed_at IS NULL
    WHERE t.project_id = ${projectId} AND t.state IN ('leased', 'running') AND a.id IS NULL
    ORDER BY t.agent_id LIMIT ${limit}`);
  return [...rows].map(({ agent_id: agentId }) => ({ projectId, agentId }));
}

/** Forgets what agents named as their task at hand where they hold it no more; resolves to how many did. */
export async function dropDeadLinks(tx: Tx, projectId: string, limit: number): Promise<number> {
  const rows = await tx.execute(sql`
    UPDATE agent_states s SET current_task_id = NULL, current_lease_epoch = NULL
    FROM (
      SELECT d.agent_id FROM agent_states d
      WHERE d.project_id = ${projectId} AND d.current_task_id IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM tasks t WHERE t.project_id = d.project_id AND t.id = d.current_task_id AND t.agent_id = d.agent_id
          AND t.lease_epoch = d.current_lease_epoch AND t.state IN ('leased', 'running'))
      ORDER BY d.agent_id LIMIT ${limit} FOR UPDATE SKIP LOCKED
    ) dead
    WHERE s.project_id = ${projectId} AND s.agent_id = dead.agent_id
    RETURNING 1`);
  return rows.length;
}
