import { afterAll, beforeAll, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { codeOf } from "../helpers/code-of.ts";
import { DOORS, enrollAgent } from "../helpers/fleet-api.ts";
import { logLines } from "../helpers/log-lines.ts";
import { type Stage, setStage } from "../helpers/stage.ts";
import { holdLock } from "../helpers/stop-point.ts";
import { waitFor } from "../helpers/wait-for.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await setStage();
});
afterAll(async () => {
  await stage.close();
});

test.each(DOORS)(
  "an agent that was removed between its authentication and its heartbeat: %s",
  async (door) => {
    const agent = await enrollAgent(stage.fleet, stage.operator);
    const lock = await holdLock(
      stage.databaseUrl,
      `SELECT 1 FROM agent_states WHERE agent_id = '${agent.uuid}' FOR UPDATE`,
    );
    const removal = stage.operator.fleet.removeAgent({ agent: agent.name });
    await lock.reached();
    const fatal = { severity: Severity.FATAL, message: "too late" };
    const outcome = codeOf(
      stage.fleet.agent(agent.token, door).heartbeat({ status: AgentStatus.BUSY, error: fatal }),
    );
    await waitFor(async () => (await lock.waiting()) === 2, {
      what: "a removal and a heartbeat behind the lock",
    });
    await lock.release();
    await removal;
    expect(await outcome).toBe("NotFound");

    const warnings = await logLines(stage.server, { level: "warn", agent: agent.name }, 1);
    expect(warnings).toEqual([
      expect.objectContaining({ project: "default", msg: expect.stringContaining("removed") }),
    ]);
    const left = await stage.sql`SELECT 1 FROM error_reports WHERE agent_id = ${agent.uuid}`;
    expect(left.length).toBe(0);
  },
);
