import { randomBytes } from "node:crypto";
import { ensureProject } from "../../../src/projects/project-store.ts";
import { newUuid } from "../../../src/runtime/resource-id.ts";
import type { Database } from "../../../src/storage/database.ts";
import { hashSecret, mintToken, parseToken } from "../../../src/tokens/token.ts";

/** An agent at work on a task, with its token. */
export interface BusyAgent {
  token: string;
  /** Text of the task's id. */
  taskId: string;
}

/** Adds agents that beat no more, until there are so many in the table. */
export async function fillTable(database: Database, agents: number): Promise<void> {
  const { id } = await ensureProject(database.db, newUuid(), "default");
  const [row] = await database.sql<{ count: number }>`SELECT count(*)::int AS count FROM agent_states`;
  const missing = agents - (row?.count ?? 0);
  if (missing <= 0) return;
  await database.sql`
    WITH made AS (
      INSERT INTO agents (project_id, id, name)
      SELECT ${id}::uuid, gen_random_uuid(), 'idle-' || gen_random_uuid() FROM generate_series(1, ${missing}::int)
      RETURNING project_id, id
    )
    INSERT INTO agent_states (project_id, agent_id, liveness, status, version, last_seen_at)
    SELECT project_id, id, 'live', 'online', 2, clock_timestamp() FROM made`;
  await database.sql`VACUUM ANALYZE agent_states`;
}

/** Adds agents that each hold a task under its first lease. */
export async function enrollBusy(database: Database, count: number): Promise<BusyAgent[]> {
  const { id: projectId } = await ensureProject(database.db, newUuid(), "default");
  const made = Array.from({ length: count }, () => {
    const [agentId, tokenId, taskId] = [newUuid(), newUuid(), newUuid()];
    const token = mintToken("agent", tokenId, randomBytes(32));
    const parsed = parseToken(token);
    if (parsed.kind !== "ok") throw new Error("a minted token does not parse");
    return { agentId, tokenId, taskId, token, hash: `\\x${hashSecret(parsed.secret).toString("hex")}` };
  });
  const column = (read: (one: (typeof made)[number]) => string) => made.map(read);
  await database.sql`
    WITH given AS MATERIALIZED (
      SELECT ${projectId}::uuid AS project_id, g.* FROM unnest(${column((one) => one.agentId)}::uuid[],
        ${column((one) => one.tokenId)}::uuid[], ${column((one) => one.taskId)}::uuid[],
        ${column((one) => one.hash)}::bytea[]) AS g(agent_id, token_id, task_id, hash)
    ), made AS (
      INSERT INTO agents (project_id, id, name) SELECT project_id, agent_id, 'busy-' || agent_id FROM given
    ), states AS (
      INSERT INTO agent_states (project_id, agent_id, liveness, status, version, last_seen_at)
      SELECT project_id, agent_id, 'live', 'busy', 2, clock_timestamp() FROM given
    ), keys AS (
      INSERT INTO tokens (id, project_id, role, secret_hash, agent_id, expires_at, activated_at)
      SELECT token_id, project_id, 'agent', hash, agent_id, clock_timestamp() + interval '30 days', clock_timestamp()
      FROM given
    ), work AS (
      INSERT INTO tasks (project_id, id, kind, state, priority, payload, max_retries, attempt, lease_epoch, agent_id,
        leased_at, lease_expires_at, started_at)
      SELECT project_id, task_id, 'hash', 'running', 5, '{"wordlist":"large","from":0,"to":100000}', 3, 1, 1, agent_id,
        clock_timestamp(), clock_timestamp() + interval '1 hour', clock_timestamp() FROM given
    )
    INSERT INTO task_attempts (project_id, task_id, lease_epoch, number, agent_id)
    SELECT project_id, task_id, 1, 1, agent_id FROM given`;
  return made.map(({ token, taskId }) => ({ token, taskId: `task_${taskId}` }));
}
