import { DOORS } from "../helpers/fleet-api.ts";
import type { Stage } from "../helpers/stage.ts";
import { stopAtChange } from "../helpers/stop-point.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { allOfIt, fatalBeat, onlineAgent, tracesOf } from "./check-fatal-heartbeat.ts";
import { unless } from "./problems.ts";

/**
 * Sends one fatal heartbeat through every door while the first of them stands in the middle of its transaction, so
 * that all of them surely meet; what is wrong with their answers and their effect.
 */
export async function wrongAfterRepeats(stage: Stage): Promise<string[]> {
  const agent = await onlineAgent(stage);
  const point = await stopAtChange(stage.databaseUrl, "audit_entries", "before insert");
  const calls = DOORS.map((door) => stage.fleet.agent(agent.token, door).heartbeat(fatalBeat));
  const settled = Promise.allSettled(calls);
  await point.reached();
  const allWait = async () => {
    const [row] = await stage.sql<{ waiting: number }[]>`
      SELECT count(*)::int AS waiting FROM pg_stat_activity
      WHERE wait_event_type = 'Lock' AND datname = current_database()`;
    return row?.waiting === DOORS.length;
  };
  await waitFor(allWait, { what: "all the repeats in the database" });
  await point.release();
  const answers = (await settled).flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  const [account, ...others] = answers.map(({ transition, agentStatus, taskFailures }) => ({
    transition,
    agentStatus,
    taskFailures,
  }));
  return [
    ...unless("answers", answers.length, DOORS.length),
    ...unless("answers that were first", answers.filter(({ duplicate }) => !duplicate).length, 1),
    ...others.flatMap((other) => unless("an account", other, account)),
    ...unless("stored", await tracesOf(stage, agent), allOfIt),
  ];
}
