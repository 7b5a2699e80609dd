/** Drover's tables, as the bench fills them. */
import { randomBytes } from "node:crypto";
import { ensureProject } from "../../../src/projects/project-store.ts";
import { newUuid } from "../../../src/runtime/resource-id.ts";
import type { Database } from "../../../src/storage/database.ts";
import { hashSecret, mintToken, parseToken } from "../../../src/tokens/token.ts";

export const KIND = "bench";
/** Tasks that are waited for one by one. */
export const AWAITED_KIND = "awaited";
export const PAYLOAD = { wordlist: "large", from: 0, to: 100_000 };

/** Adds agents that have nothing to do; resolves to their tokens. */
export async function enrollIdle(database: Database, count: number): Promise<string[]> {
  const projectId = await projectOf(database);
  const made = Array.from({ length: count }, () => ({ agentId: newUuid(), ...newToken("agent") }));
  await database.sql`
    WITH given AS MATERIALIZED (
      SELECT ${projectId}::uuid AS project_id, g.* FROM unnest(${made.map(({ agentId }) => agentId)}::uuid[],
        ${made.map(({ id }) => id)}::uuid[], ${made.map(({ hash }) => hash)}::bytea[]) AS g(agent_id, token_id, hash)
    ), made AS (
      INSERT INTO agents (project_id, id, name) SELECT project_id, agent_id, 'idle-' || agent_id FROM given
    ), states AS (
      INSERT INTO agent_states (project_id, agent_id, liveness, status, version, last_seen_at)
      SELECT project_id, agent_id, 'live', 'online', 2, clock_timestamp() FROM given
    )
    INSERT INTO tokens (id, project_id, role, secret_hash, agent_id, expires_at, activated_at)
    SELECT token_id, project_id, 'agent', hash, agent_id, clock_timestamp() + interval '30 days', clock_timestamp()
    FROM given`;
  return made.map(({ token }) => token);
}

/** An operator's token. */
export async function makeOperator(database: Database): Promise<string> {
  const projectId = await projectOf(database);
  const { id, token, hash } = newToken("operator");
  await database.sql`
    INSERT INTO tokens (id, project_id, role, secret_hash, activated_at)
    VALUES (${id}, ${projectId}, 'operator', ${hash}::bytea, clock_timestamp())`;
  return token;
}

/** Adds tasks that are due, as CreateTask would, by one statement. */
export async function addPending(database: Database, count: number): Promise<void> {
  const projectId = await projectOf(database);
  await database.sql`
    INSERT INTO tasks (project_id, id, kind, priority, payload, payload_bytes, max_retries)
    SELECT ${projectId}::uuid, gen_random_uuid(), ${KIND}, 5, ${JSON.stringify(PAYLOAD)}::text::json, 60, 3
    FROM generate_series(1, ${count}::int)`;
}

/** Adds tasks that succeeded, each with its attempt. */
export async function addFinished(database: Database, count: number): Promise<void> {
  const projectId = await projectOf(database);
  await database.sql`
    WITH made AS (
      INSERT INTO tasks (project_id, id, kind, state, priority, payload, payload_bytes, result, result_bytes, max_retries,
        attempt, lease_epoch, agent_id, leased_at, started_at, finished_at, progress, created_at, due_at)
      SELECT ${projectId}::uuid, gen_random_uuid(), ${KIND}, 'succeeded', 5, ${JSON.stringify(PAYLOAD)}::text::json, 60,
        '{"found":3}', 11, 3, 1, 1, taker.agent_id, moment.at, moment.at, moment.at, 1, moment.at, moment.at
      FROM generate_series(1, ${count}::int) AS number,
        (SELECT agent_id FROM agent_states LIMIT 1) taker,
        LATERAL (SELECT clock_timestamp() - number * interval '10 ms' AS at) moment
      RETURNING project_id, id, agent_id, created_at
    )
    INSERT INTO task_attempts (project_id, task_id, lease_epoch, number, agent_id, began_at, ended_at, outcome)
    SELECT project_id, id, 1, 1, agent_id, created_at, created_at, 'succeeded' FROM made`;
  await tidy(database);
}

/** Forgets every task, as if none had ever been. */
export async function forgetTasks(database: Database): Promise<void> {
  await database.sql`TRUNCATE tasks, task_attempts CASCADE`;
  await tidy(database);
}

export async function tidy(database: Database): Promise<void> {
  await database.sql`VACUUM ANALYZE tasks`;
  await database.sql`VACUUM ANALYZE task_attempts`;
}

async function projectOf(database: Database): Promise<string> {
  return (await ensureProject(database.db, newUuid(), "default")).id;
}

function newToken(role: "agent" | "operator") {
  const id = newUuid();
  const token = mintToken(role, id, randomBytes(32));
  const parsed = parseToken(token);
  if (parsed.kind !== "ok") throw new Error("a minted token does not parse");
  return { id, token, hash: `\\x${hashSecret(parsed.secret).toString("hex")}` };
}
