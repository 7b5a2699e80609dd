import type { Sql as Pool, TransactionSql } from "postgres";

type Sql = Pool | TransactionSql;

interface ChainRow {
  subject: string;
  field: string;
  version: bigint;
  from: string;
  to: string;
  prior: string | null;
  time_went_back: boolean;
}

interface EndRow {
  agent: string;
  field: string;
  last: string | null;
  present: string;
  version: string;
  top_version: string;
}

/**
 * What is wrong with the audit log of agents: for each agent and field every entry must go on where the one before
 * ended, change something, have a version of its own, and the last one must say what is true now. Empty when all is
 * well. `stale` counts as `live`; a chain whose beginning was pruned starts with its oldest entry.
 */
export async function auditChainProblems(sql: Sql): Promise<string[]> {
  const problems = await Promise.all([brokenLinks(sql), wrongEnds(sql), repeatedVersions(sql)]);
  return problems.flat();
}

async function brokenLinks(sql: Sql): Promise<string[]> {
  const rows = await sql<ChainRow[]>`
    SELECT * FROM (
      SELECT project_id, subject, field, version, from_value AS from, to_value AS to,
        lag(to_value) OVER chain AS prior,
        coalesce(time < lag(time) OVER (PARTITION BY project_id, subject ORDER BY version), false) AS time_went_back
      FROM audit_entries
      WHERE subject LIKE 'agent\\_%' AND field IN ('status', 'liveness', 'cordon')
      WINDOW chain AS (PARTITION BY project_id, subject, field ORDER BY version)
    ) AS entries
    WHERE "from" = "to" OR "from" <> coalesce(prior, "from") OR version IS NULL OR time_went_back
      OR "from" = 'stale' OR "to" = 'stale'
      OR (version = 1 AND "from" NOT IN ('pending', 'never', 'none'))`;
  return rows.map(
    ({ subject, field, version, from, to, prior, time_went_back }) =>
      `${subject} ${field} version ${version}: ${prior ?? "(start)"} | ${from} -> ${to}${time_went_back ? " (time went back)" : ""}`,
  );
}

async function wrongEnds(sql: Sql): Promise<string[]> {
  const rows = await sql<EndRow[]>`
    WITH present AS (
      SELECT project_id, 'agent_' || agent_id AS subject, version, 'status' AS field, status AS value FROM agent_states
      UNION ALL
      SELECT project_id, 'agent_' || agent_id, version, 'liveness', replace(liveness, 'stale', 'live') FROM agent_states
      UNION ALL
      SELECT project_id, 'agent_' || agent_id, version, 'cordon', cordon FROM agent_states
    ), newest AS (
      SELECT DISTINCT ON (project_id, subject, field) project_id, subject, field, to_value
      FROM audit_entries WHERE version IS NOT NULL
      ORDER BY project_id, subject, field, version DESC
    ), top AS (
      SELECT project_id, subject, max(version) AS version FROM audit_entries GROUP BY project_id, subject
    )
    SELECT present.subject AS agent, present.field, newest.to_value AS last, present.value AS present,
      present.version::text AS version, coalesce(top.version, 0)::text AS top_version
    FROM present
    LEFT JOIN newest USING (project_id, subject, field)
    LEFT JOIN top USING (project_id, subject)
    WHERE coalesce(newest.to_value, CASE present.field WHEN 'status' THEN 'pending' WHEN 'liveness' THEN 'never' ELSE 'none' END) <> present.value
      OR present.version <> coalesce(top.version, 0)`;
  return rows.map(
    ({ agent, field, last, present, version, top_version }) =>
      `${agent} ${field}: the log ends with ${last ?? "nothing"} at version ${top_version}, the agent is ${present} at ${version}`,
  );
}

async function repeatedVersions(sql: Sql): Promise<string[]> {
  const rows = await sql<{ subject: string; version: bigint; count: string }[]>`
    SELECT subject, version, count(*)::text AS count FROM audit_entries
    WHERE version IS NOT NULL GROUP BY project_id, subject, version HAVING count(*) > 1`;
  return rows.map(({ subject, version, count }) => `${subject} has version ${version} ${count} times`);
}
