import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { type EnrolledAgent, enrollAgents } from "../helpers/fleet-api.ts";
import type { Stage } from "../helpers/stage.ts";
import { waitFor } from "../helpers/wait-for.ts";

/** Settings with which a server sweeps often, and agents that do not beat have a minute before they count as silent. */
export const SWEEPS_OFTEN: Record<string, string> = {
  DROVER_HEARTBEAT_INTERVAL: "1s",
  DROVER_STALE_AFTER: "60",
  DROVER_OFFLINE_AFTER: "90",
};

let projects = 0;

/** Agents of a project of their own, that beat and hold a task each. */
export async function workingFleet(stage: Stage, size: number): Promise<EnrolledAgent[]> {
  projects += 1;
  const project = `fleet-${process.pid}-${projects}`;
  await stage.operator.projects.createProject({ name: project });
  const operator = stage.fleet.operator(stage.operatorToken, project);
  const agents = await enrollAgents(stage.fleet, operator, size);
  for (const { name, token } of agents) {
    const api = stage.fleet.agent(token);
    await api.heartbeat({ status: AgentStatus.ONLINE });
    await operator.tasks.createTask({ kind: name });
    const { tasks } = await api.claimTasks({ kinds: [name], max: 1 });
    if (tasks.length !== 1) throw new Error(`${name} was given no task`);
  }
  return agents;
}

/** Makes it true that somebody has watched for a day, and that these agents were last heard ten minutes ago. */
export async function makeSilent({ sql }: Stage, agents: readonly EnrolledAgent[]): Promise<void> {
  const ids = agents.map(({ uuid }) => uuid);
  await sql`UPDATE liveness_watch SET since = clock_timestamp() - interval '1 day'`;
  await sql.begin(async (tx) => {
    await tx`
      UPDATE tasks SET lease_expires_at = clock_timestamp() - interval '5 minutes'
      WHERE agent_id = ANY (${ids}) AND state IN ('leased', 'running')`;
    await tx`
      UPDATE agent_states SET last_seen_at = clock_timestamp() - interval '10 minutes' WHERE agent_id = ANY (${ids})`;
  });
}

/** Resolves when the sweep has looked so many times more. */
export async function sweeps({ sql }: Stage, times: number): Promise<void> {
  const keptAt = async () => {
    const [row] = await sql<{ at: Date }[]>`SELECT kept_at AS at FROM liveness_watch`;
    return row?.at.getTime() ?? 0;
  };
  for (let time = 0; time < times; time += 1) {
    const before = await keptAt();
    await waitFor(async () => (await keptAt()) > before, { what: "a sweep", timeoutMs: 20_000 });
  }
}

/** How many of the agents are offline, and how many tasks they still hold. */
export async function lossesOf(
  { sql }: Stage,
  agents: readonly EnrolledAgent[],
): Promise<{ offline: number; held: number }> {
  const ids = agents.map(({ uuid }) => uuid);
  const [row] = await sql<{ offline: number; held: number }[]>`
    SELECT (SELECT count(*)::int FROM agent_states WHERE agent_id = ANY (${ids}) AND liveness = 'offline') AS offline,
      (SELECT count(*)::int FROM tasks WHERE agent_id = ANY (${ids}) AND state IN ('leased', 'running')) AS held`;
  return row ?? { offline: 0, held: 0 };
}

/** What is taken from a fleet that vanished as a whole, and then in its greater part; empty when all is well. */
export async function takenInMassLoss(stage: Stage): Promise<string[]> {
  const problems: string[] = [];
  const agents = await workingFleet(stage, 5);
  await makeSilent(stage, agents);
  await waitFor(async () => (await lossesOf(stage, agents)).offline === 5, {
    what: "the loss",
    timeoutMs: 20_000,
  });
  await sweeps(stage, 3);
  const all = await lossesOf(stage, agents);
  if (all.held !== 5) return [`all of 5 agents were gone, and ${5 - all.held} tasks were taken`];

  const [one, two, ...gone] = agents;
  for (const agent of [one, two]) {
    await stage.fleet.agent(agent?.token ?? "").heartbeat({ status: AgentStatus.ONLINE });
  }
  await sweeps(stage, 2);
  const returned = await lossesOf(stage, agents);
  if (returned.held < all.held) problems.push("a return cost those that are still away their tasks");

  // The grace is over for those that did not return.
  const sinceMs = performance.now();
  await makeSilent(stage, gone);
  await sweeps(stage, 3);
  const { held } = await lossesOf(stage, gone);
  const allowed = 1 + (performance.now() - sinceMs) / 10_000;
  if (3 - held > allowed)
    problems.push(`most of 5 agents were gone, and ${3 - held} of 3 tasks were taken at once`);
  return problems;
}
