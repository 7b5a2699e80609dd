import { setTimeout as pause } from "node:timers/promises";
import { overlappingLeases } from "../end-to-end/lease-history.ts";
import { auditChainProblems } from "../guarantees/audit-chain.ts";
import { openRawSql } from "../helpers/raw-sql.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { createTasksOn } from "../servers/load.ts";
import { planRounds, type Round } from "./plan-rounds.ts";
import { SoakStage } from "./soak-stage.ts";

const KIND = "soak";
const slow = { timeoutMs: 120_000, everyMs: 50 };

export interface SoakOptions {
  seed: number;
  agents: number;
  servers: number;
  /** Whether one more round is to come after so many. */
  goesOn(rounds: number): boolean;
  log(line: string): void;
}

/** What a run came to. */
export interface SoakReport {
  rounds: number;
  /** Tasks whose creation was acknowledged. */
  created: number;
  /** Tasks by the state in which they ended. */
  ends: Record<string, number>;
  /** Attempts that their agents lost, by which the faults show. */
  lostAttempts: number;
  /** What should not be; empty when all is well. */
  problems: string[];
}

/**
 * Lets agents work while they are frozen and killed, servers are frozen and killed, and PostgreSQL is ended and started
 * again; then heals everything, waits until every task has ended, and looks for what should not be.
 */
export async function runSoak(options: SoakOptions): Promise<SoakReport> {
  const stage = await SoakStage.set(options, KIND);
  const tasks = [1, 2, 3, 4].map((load) => createTasksOn(stage, KIND, `${load}`));
  try {
    let rounds = 0;
    for (const round of planRounds(options.seed, options)) {
      if (!options.goesOn(rounds)) break;
      rounds += 1;
      options.log(`round ${rounds}: ${describe(round)}`);
      await playRound(stage, round);
    }
    for (const load of tasks) await load.stop();
    options.log("everything is whole again; the tasks that are left come to their ends");
    const open = async () =>
      await countOf(stage, "SELECT count(*)::int AS count FROM tasks WHERE finished_at IS NULL");
    await waitFor(async () => (await open()) === 0, { ...slow, what: "the end of all tasks" });
    return await examine(
      stage,
      rounds,
      tasks.flatMap(({ created }) => created),
    );
  } finally {
    for (const load of tasks) await load.stop();
    await stage.close();
  }
}

/** Breaks what the round says, waits until it shows, and makes it whole. */
async function playRound(stage: SoakStage, { agents, house, server, restMs }: Round): Promise<void> {
  await pause(restMs);
  const held = new Map<string, string[]>();
  for (const [place, fault] of agents) {
    const agent = stage.agents[place];
    if (agent === undefined) continue;
    held.set(
      agent.uuid,
      await waitFor(() => holdings(stage, agent.uuid), { ...slow, what: "work of an agent" }),
    );
    if (fault === "freeze") agent.signal("SIGSTOP");
    else await agent.kill();
  }
  const member = stage.members[server];
  for (const fault of house) {
    if (fault === "restartPostgres") await stage.postgres.restart("SIGINT");
    else if (fault === "killPostgres") await stage.postgres.restart("SIGKILL");
    else if (fault === "killServer") await member?.process.kill();
    else member?.process.signal("SIGSTOP");
  }
  // Some of what the agents held may have been ended at the last moment, and some of it is lost.
  await waitFor(() => areOver(stage, held), {
    ...slow,
    what: "the end of the loans of agents that are gone",
  });
  member?.process.signal("SIGCONT");
  if (member?.process.running() === false) await member.start();
  for (const [place, fault] of agents) {
    if (fault === "freeze") stage.agents[place]?.signal("SIGCONT");
    else stage.agents[place]?.restart();
  }
}

/** Tasks that the agent has begun, with their epochs; undefined where there are none. */
async function holdings({ database }: SoakStage, agentId: string): Promise<string[] | undefined> {
  const rows = await database.sql<{ loan: string }>`
    SELECT id || ' ' || lease_epoch AS loan FROM tasks WHERE agent_id = ${agentId} AND state = 'running'`;
  return rows.length === 0 ? undefined : rows.map(({ loan }) => loan);
}

async function areOver({ database }: SoakStage, held: ReadonlyMap<string, string[]>): Promise<boolean> {
  const rows = await database.sql`
    SELECT 1 FROM tasks
    WHERE id || ' ' || lease_epoch = ANY (${[...held.values()].flat()}::text[]) AND state IN ('leased', 'running')`;
  return rows.length === 0;
}

async function examine(stage: SoakStage, rounds: number, created: string[]): Promise<SoakReport> {
  const sql = openRawSql(stage.postgres.url, 1);
  try {
    const problems = (await overlappingLeases(sql)).map(
      (overlap) => `two valid leases: ${JSON.stringify(overlap)}`,
    );
    problems.push(...(await auditChainProblems(sql)).map((problem) => `audit: ${JSON.stringify(problem)}`));
    const rows = await sql<{ id: string; state: string }[]>`SELECT id, state FROM tasks`;
    const present = new Set(rows.map(({ id }) => `task_${id}`));
    for (const id of created) if (!present.has(id)) problems.push(`${id} was acknowledged and is not there`);
    if (new Set(created).size !== created.length) problems.push("a task was acknowledged as two");
    const twice = await sql`
      SELECT request_id FROM audit_entries WHERE action = 'task.created' GROUP BY request_id HAVING count(*) > 1`;
    if (twice.length > 0) problems.push(`made twice for one request: ${JSON.stringify(twice)}`);
    // Each task has one end, its last attempt's, and no other attempt has brought it there.
    const odd = await sql`
      SELECT t.id, t.state, t.retries, t.losses, t.max_retries, t.lease_epoch, array_agg(a.outcome ORDER BY a.lease_epoch) AS outcomes
      FROM tasks t LEFT JOIN task_attempts a ON a.project_id = t.project_id AND a.task_id = t.id
      GROUP BY t.project_id, t.id
      HAVING count(*) FILTER (WHERE a.ended_at IS NULL OR a.outcome IS NULL) > 0
        OR count(*) FILTER (WHERE a.outcome = 'succeeded') <> CASE WHEN t.state = 'succeeded' THEN 1 ELSE 0 END
        OR (t.state = 'succeeded' AND max(a.lease_epoch) FILTER (WHERE a.outcome = 'succeeded') <> t.lease_epoch)
        OR t.retries > t.max_retries OR t.losses > 10`;
    problems.push(...odd.map((task) => `a task ended in no one way: ${JSON.stringify(task)}`));
    const told = await sql`
      SELECT task_id FROM events WHERE type = 'task.succeeded' GROUP BY task_id HAVING count(*) > 1`;
    if (told.length > 0) problems.push(`told twice to have succeeded: ${JSON.stringify(told)}`);
    const ends: Record<string, number> = {};
    for (const { state } of rows) ends[state] = (ends[state] ?? 0) + 1;
    const lostAttempts = await countOf(
      stage,
      "SELECT count(*)::int AS count FROM task_attempts WHERE outcome = 'lost'",
    );
    return { rounds, created: created.length, ends, lostAttempts, problems };
  } finally {
    await sql.end();
  }
}

async function countOf({ database }: SoakStage, query: string): Promise<number> {
  // One of the texts above.
  const [row] = await database.sql<{ count: number }>([query] as unknown as TemplateStringsArray);
  return row?.count ?? -1;
}

function describe({ agents, house, server }: Round): string {
  const ofAgents = [...agents].map(([place, fault]) => `${fault} agent ${place}`);
  return [
    ...ofAgents,
    ...house.map((fault) => (fault.endsWith("Server") ? `${fault} ${server}` : fault)),
  ].join(", ");
}
