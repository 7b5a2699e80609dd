import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { codeOf } from "../helpers/code-of.ts";
import { logLines } from "../helpers/log-lines.ts";
import { type Stage, setStage } from "../helpers/stage.ts";
import { backendGone, stopAtChange } from "../helpers/stop-point.ts";
import { auditChainProblems } from "./audit-chain.ts";
import {
  allOfIt,
  fatalBeat,
  killAt,
  moments,
  nothing,
  onlineAgent,
  tracesOf,
} from "./check-fatal-heartbeat.ts";

describe("a fatal heartbeat is all or nothing", () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await setStage();
  });
  afterAll(async () => {
    await stage.close();
  });

  test.each(moments)("when the server is killed $name", async (moment) => {
    const agent = await onlineAgent(stage);
    const left = await killAt(stage, agent, moment);
    expect(left).toEqual(moment.leaves === "nothing" ? nothing : allOfIt);

    await stage.restart();
    const api = stage.fleet.agent(agent.token);
    const repeated = await api.heartbeat(fatalBeat);
    expect(repeated).toMatchObject({
      acknowledged: true,
      agentStatus: AgentStatus.ERROR,
      duplicate: moment.leaves === "all of it",
      transition: { from: AgentStatus.ONLINE, to: AgentStatus.ERROR },
    });
    expect(await tracesOf(stage, agent)).toEqual(allOfIt);
    const again = await api.heartbeat(fatalBeat);
    expect(again.duplicate).toBe(true);
    expect(await tracesOf(stage, agent)).toEqual(allOfIt);
    expect(await auditChainProblems(stage.sql)).toEqual([]);
  });

  test("when the database takes the commit back: the caller is told to try again, and nobody heard of it", async () => {
    const agent = await onlineAgent(stage);
    const point = await stopAtChange(stage.databaseUrl, "agent_states", "in commit after update");
    const outcome = codeOf(stage.fleet.agent(agent.token).heartbeat(fatalBeat));
    const backend = await point.reached();
    await stage.sql`SELECT pg_terminate_backend(${backend})`;
    await point.release();
    expect(await outcome).toBe("Unavailable");
    await backendGone(stage.sql, backend);
    expect(await tracesOf(stage, agent)).toEqual(nothing);

    await stage.fleet.agent(agent.token).heartbeat(fatalBeat);
    expect(await tracesOf(stage, agent)).toEqual(allOfIt);
    // Had the log heard of the one that was taken back, that line would stand before the last.
    expect(await transitionsLogged(stage, agent.name, 2)).toEqual(["online", "error"]);
  });
});

async function transitionsLogged(stage: Stage, agent: string, atLeast: number): Promise<unknown[]> {
  const lines = await logLines(stage.server, { agent, msg: "agent status changed" }, atLeast);
  return lines.map(({ to }) => to);
}
