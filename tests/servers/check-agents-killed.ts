import type { Sql, TransactionSql } from "postgres";
import { TaskState } from "../../gen/drover/v1/task_pb.js";
import { overlappingLeases } from "../end-to-end/lease-history.ts";
import { type EnrolledAgent, enrollAgents } from "../helpers/fleet-api.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { AgentGroup } from "./agent-group.ts";
import type { Cluster } from "./cluster.ts";

const PROJECT = "mass-loss";
const KIND = "hold";
const slow = { timeoutMs: 60_000, everyMs: 50 };

/**
 * Kills three of a project's five agents, lets them return, kills all five, and lets all of them return. What went wrong;
 * empty when all is well. `recordLeases` has to be called before, `ratePerSecond` is the servers' rate of the brake, and
 * nothing else may happen to the servers meanwhile.
 */
export async function wrongWhenAgentsAreKilled(cluster: Cluster, ratePerSecond: number): Promise<string[]> {
  const { sql } = cluster;
  const agents = await enrollWithTasks(cluster);
  const urls = cluster.members.map(({ process }) => `http://${process.grpcTarget}`);
  const few = new AgentGroup(agents.slice(0, 2), KIND, urls);
  const most = new AgentGroup(agents.slice(2), KIND, urls);
  const problems: string[] = [];
  const expectLosses = async (expected: number, when: string) => {
    const losses = await lossTimes(sql);
    if (losses.length !== expected)
      problems.push(`${when}, ${losses.length} tasks were lost, not ${expected}`);
  };
  try {
    await waitFor(async () => (await holders(sql)) === 5, { ...slow, what: "a task for each agent" });

    await most.kill();
    const fromMs = await letTimePass(sql, most.agents);
    const losses = await waitFor(
      async () => {
        const all = await lossTimes(sql);
        return all.length >= 3 && all;
      },
      { ...slow, what: "the loss of three tasks" },
    );
    for (const [index, lostMs] of losses.entries()) {
      const [afterMs, earliestMs] = [lostMs - fromMs, (index * 1_000) / ratePerSecond];
      if (afterMs < earliestMs - 1) problems.push(`task ${index + 1} went back after ${afterMs} ms`);
    }
    await expectLosses(3, "when three of five were gone");
    if (problems.length > 0) return problems;
    most.restart();
    await waitFor(async () => (await holders(sql)) === 5, { ...slow, what: "a task for each agent again" });
    await brakeIs(sql, undefined);

    await Promise.all([few.kill(), most.kill()]);
    await letTimePass(sql, agents);
    await brakeIs(sql, "stopped");
    await roundsOfSweep(sql, 3);
    await expectLosses(3, "while all were gone");
    const told = await explanationOfOne(cluster);
    if (!told.includes("nothing goes back until one of them is heard")) problems.push(`it was told: ${told}`);
    few.restart();
    await brakeIs(sql, "slow");
    await roundsOfSweep(sql, 3);
    // Whoever is still away has the whole time once more.
    await expectLosses(3, "after two had returned");
    if ((await shortestLeaseS(sql)) < 10) problems.push("a return gave the others no time to return");
    most.restart();
    await brakeIs(sql, undefined);
    await expectLosses(3, "after all had returned");

    // New runs know nothing of what the old ones held: it comes back to them by the end of its lease.
    await endLeases(sql, agents);
    await waitFor(async () => (await lossTimes(sql)).length === 8 && (await holders(sql)) === 5, {
      ...slow,
      what: "a task for each agent at last",
    });
    few.finish();
    most.finish();
    await waitFor(async () => (await succeeded(sql)) === 5, { ...slow, what: "the end of all tasks" });
    for (const overlap of await overlappingLeases(sql))
      problems.push(`two valid leases: ${JSON.stringify(overlap)}`);
    for (const { uuid } of few.agents) problems.push(...(await blames(sql, uuid, 1)));
    for (const { uuid } of most.agents) problems.push(...(await blames(sql, uuid, 2)));
    return problems;
  } finally {
    await Promise.all([few.kill(), most.kill()]);
  }
}

async function enrollWithTasks({ members, operatorToken }: Cluster): Promise<EnrolledAgent[]> {
  const [first] = members;
  if (first === undefined) throw new Error("there is no server");
  await first.fleet.operator(operatorToken).projects.createProject({ name: PROJECT });
  const operator = first.fleet.operator(operatorToken, PROJECT);
  const agents = await enrollAgents(first.fleet, operator, 5);
  await operator.tasks.batchCreateTasks({ requests: agents.map(() => ({ kind: KIND })) });
  return agents;
}

/** What an operator hears of a task whose agent is gone. */
async function explanationOfOne({ members, operatorToken }: Cluster): Promise<string> {
  const { tasks } = members[0]?.fleet.operator(operatorToken, PROJECT) ?? {};
  const [held] = (await tasks?.listTasks({ state: [TaskState.RUNNING], pageSize: 1 }))?.tasks ?? [];
  const answer = await tasks?.explainTask({ task: held?.id ?? "" });
  return (answer?.explanation?.reasons ?? []).map(({ message }) => message).join(" ");
}

const idsOf = (agents: readonly EnrolledAgent[]) => agents.map(({ uuid }) => uuid);

/**
 * Waits until the servers know that these agents' streams have ended, and makes it true that they did so a minute ago;
 * resolves to when that was done, in ms by the database's clock.
 */
async function letTimePass(sql: Sql, agents: readonly EnrolledAgent[]): Promise<number> {
  const ids = idsOf(agents);
  await waitFor(
    async () => {
      const open = await sql`
        SELECT 1 FROM agent_streams WHERE agent_id = ANY (${ids}) AND ended_at IS NULL`;
      return open.length === 0;
    },
    { ...slow, what: "the end of the streams" },
  );
  return await sql.begin(async (tx) => {
    // The row that every round of the sweep begins with: none is under way until this is committed.
    await tx`UPDATE liveness_watch SET since = clock_timestamp() - interval '1 day'`;
    await tx`
      UPDATE agent_states SET last_seen_at = last_seen_at - interval '1 minute' WHERE agent_id = ANY (${ids})`;
    await moveLeases(tx, ids);
    const [row] = await tx<{ ms: number }[]>`
      SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS ms`;
    return row?.ms ?? Number.NaN;
  });
}

/** Makes it true that what these agents hold was lent a minute earlier. */
async function endLeases(sql: Sql, agents: readonly EnrolledAgent[]): Promise<void> {
  await sql.begin((tx) => moveLeases(tx, idsOf(agents)));
}

async function moveLeases(tx: TransactionSql, ids: string[]): Promise<void> {
  await tx`
    UPDATE tasks SET lease_expires_at = lease_expires_at - interval '1 minute'
    WHERE agent_id = ANY (${ids}) AND state IN ('leased', 'running')`;
  await tx`
    UPDATE lease_history SET expires_at = expires_at - interval '1 minute' WHERE agent_id = ANY (${ids})`;
}

/** How many agents hold a task of ours under a lease that has not ended. */
async function holders(sql: Sql): Promise<number> {
  const rows = await sql`
    SELECT DISTINCT agent_id FROM tasks
    WHERE kind = ${KIND} AND state = 'running' AND lease_expires_at > clock_timestamp()`;
  return rows.length;
}

/** When our tasks' attempts were lost, in ms, the first first. */
async function lossTimes(sql: Sql): Promise<number[]> {
  const rows = await sql<{ ms: number }[]>`
    SELECT (extract(epoch FROM a.ended_at) * 1000)::float8 AS ms
    FROM task_attempts a JOIN tasks t ON t.project_id = a.project_id AND t.id = a.task_id
    WHERE t.kind = ${KIND} AND a.outcome = 'lost' ORDER BY a.ended_at`;
  return rows.map(({ ms }) => ms);
}

async function succeeded(sql: Sql): Promise<number> {
  const rows = await sql`SELECT 1 FROM tasks WHERE kind = ${KIND} AND state = 'succeeded'`;
  return rows.length;
}

async function shortestLeaseS(sql: Sql): Promise<number> {
  const [row] = await sql<{ s: number }[]>`
    SELECT extract(epoch FROM min(lease_expires_at) - clock_timestamp())::float8 AS s
    FROM tasks WHERE kind = ${KIND}`;
  return row?.s ?? 0;
}

async function brakeIs(sql: Sql, kind: "slow" | "stopped" | undefined): Promise<void> {
  await waitFor(
    async () => {
      const [row] = await sql<{ kind: string }[]>`
        SELECT kind FROM liveness_brakes b JOIN projects p ON p.id = b.project_id WHERE p.name = ${PROJECT}`;
      return row?.kind === kind;
    },
    { ...slow, what: `the brake, ${kind ?? "off"}` },
  );
}

/** Waits until the watch was kept so many times more, as every round of the sweep does. */
async function roundsOfSweep(sql: Sql, count: number): Promise<void> {
  const keptAt = async () => {
    const [row] = await sql<{ at: Date }[]>`SELECT kept_at AS at FROM liveness_watch`;
    return row?.at.getTime() ?? 0;
  };
  for (let round = 0; round < count; round += 1) {
    const before = await keptAt();
    await waitFor(async () => (await keptAt()) > before, { ...slow, what: "a round of the sweep" });
  }
}

/** A problem where the agent was called offline more often or less than it should have been. */
async function blames(sql: Sql, agentId: string, expected: number): Promise<string[]> {
  const rows = await sql`
    SELECT 1 FROM audit_entries
    WHERE subject = ${`agent_${agentId}`} AND field = 'liveness' AND to_value = 'offline'`;
  return rows.length === expected
    ? []
    : [`an agent was called offline ${rows.length} times, not ${expected}`];
}
