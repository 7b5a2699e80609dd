import type { HeartbeatResponse } from "../../gen/drover/v1/agent_service_pb.js";
import { DOORS, type EnrolledAgent } from "../helpers/fleet-api.ts";
import type { Stage } from "../helpers/stage.ts";
import { stopAtChange } from "../helpers/stop-point.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { fatalBeat } from "./check-fatal-heartbeat.ts";

/**
 * Sends one fatal heartbeat through every door while the first of them stands in the middle of its transaction, so
 * that all of them surely meet.
 */
export async function repeatAtOnce(stage: Stage, agent: EnrolledAgent): Promise<HeartbeatResponse[]> {
  const point = await stopAtChange(stage.databaseUrl, "audit_entries", "before insert");
  const answers = Promise.all(DOORS.map((door) => stage.fleet.agent(agent.token, door).heartbeat(fatalBeat)));
  // Whoever waits may fail before it is waited for here.
  answers.catch(() => undefined);
  await point.reached();
  const allWait = async () => {
    const [row] = await stage.sql<{ waiting: number }[]>`
      SELECT count(*)::int AS waiting FROM pg_stat_activity
      WHERE wait_event_type = 'Lock' AND datname = current_database()`;
    return row?.waiting === DOORS.length;
  };
  await waitFor(allWait, { what: "all the repeats in the database" });
  await point.release();
  return await answers;
}
