import { DOORS, type Fleet } from "../helpers/fleet-api.ts";
import type { Stage } from "../helpers/stage.ts";
import { stopAtChange } from "../helpers/stop-point.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { allOfIt, fatalBeat, onlineAgent, tracesOf } from "./check-fatal-heartbeat.ts";
import { unless } from "./problems.ts";

/**
 * Sends one fatal heartbeat through every door of two servers while the first of them stands in the middle of its
 * transaction, so that all of them surely meet, those of one server in its memory and those of the two in the database;
 * what is wrong with their answers and their effect.
 */
export async function wrongAfterRepeats(stage: Stage): Promise<string[]> {
  const replica = await stage.replica();
  try {
    return await wrongBetween(stage, [stage.fleet, replica.fleet]);
  } finally {
    await replica.close();
  }
}

async function wrongBetween(stage: Stage, fleets: readonly Fleet[]): Promise<string[]> {
  const agent = await onlineAgent(stage);
  const point = await stopAtChange(stage.databaseUrl, "audit_entries", "before insert");
  const ways = fleets.flatMap((fleet) => DOORS.map((door) => fleet.agent(agent.token, door)));
  const calls = ways.map((api) => api.heartbeat(fatalBeat));
  const settled = Promise.allSettled(calls);
  await point.reached();
  const allWait = async () => {
    const [row] = await stage.sql<{ waiting: number }[]>`
      SELECT count(*)::int AS waiting FROM pg_stat_activity
      WHERE wait_event_type = 'Lock' AND datname = current_database()`;
    return row?.waiting === fleets.length;
  };
  await waitFor(allWait, { what: "a repeat of each server in the database" });
  await point.release();
  const answers = (await settled).flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  const [account, ...others] = answers.map(({ transition, agentStatus, taskFailures }) => ({
    transition,
    agentStatus,
    taskFailures,
  }));
  return [
    ...unless("answers", answers.length, ways.length),
    ...unless("answers that were first", answers.filter(({ duplicate }) => !duplicate).length, 1),
    ...others.flatMap((other) => unless("an account", other, account)),
    ...unless("stored", await tracesOf(stage, agent), allOfIt),
  ];
}
