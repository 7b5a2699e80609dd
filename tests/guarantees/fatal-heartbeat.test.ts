import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { codeOf } from "../helpers/code-of.ts";
import { backendGone, stopAtChange } from "../helpers/stop-point.ts";
import { auditChainProblems } from "./audit-chain.ts";
import { allOfIt, fatalBeat, killAt, moments, nothing, onlineAgent, tracesOf } from "./check-fatal-heartbeat.ts";
import { setStage, type Stage } from "./stage.ts";

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
    expect(transitionsLogged(stage, agent.name)).toEqual(["online"]);
    await stage.sql`SELECT pg_terminate_backend(${backend})`;
    await point.release();
    expect(await outcome).toBe("Unavailable");
    await backendGone(stage.sql, backend);
    expect(await tracesOf(stage, agent)).toEqual(nothing);
    expect(transitionsLogged(stage, agent.name)).toEqual(["online"]);

    await stage.fleet.agent(agent.token).heartbeat(fatalBeat);
    expect(await tracesOf(stage, agent)).toEqual(allOfIt);
    expect(transitionsLogged(stage, agent.name)).toEqual(["online", "error"]);
  });
});

function transitionsLogged(stage: Stage, agent: string): unknown[] {
  return stage.server
    .log()
    .filter((line) => line["agent"] === agent && line["msg"] === "agent status changed")
    .map((line) => line["to"]);
}
