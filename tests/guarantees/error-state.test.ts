import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { enrollAgent } from "../helpers/fleet-api.ts";
import { type Stage, setStage } from "../helpers/stage.ts";
import { refusedInError } from "./check-error-state.ts";

describe("an agent in error", () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await setStage();
  });
  afterAll(async () => {
    await stage.close();
  });

  test("can heartbeat, report, renew its token and recover, through every door", async () => {
    expect(await refusedInError(stage)).toEqual([]);
  });

  test("a warning beside it changes nothing, the reported status counts", async () => {
    const agent = await enrollAgent(stage.fleet, stage.operator);
    const api = stage.fleet.agent(agent.token);
    await api.heartbeat({ status: AgentStatus.ERROR });
    const warning = { severity: Severity.WARNING, message: "fan slow" };
    const still = await api.heartbeat({ status: AgentStatus.ERROR, error: warning });
    expect(still).toMatchObject({ agentStatus: AgentStatus.ERROR });
    expect(still.transition).toBeUndefined();
    const recovered = await api.heartbeat({ status: AgentStatus.BUSY, error: warning });
    expect(recovered).toMatchObject({
      agentStatus: AgentStatus.BUSY,
      transition: { from: AgentStatus.ERROR },
    });
  });

  test("survives a new run of its process, and an error report changes no status", async () => {
    const agent = await enrollAgent(stage.fleet, stage.operator);
    const api = stage.fleet.agent(agent.token);
    await api.heartbeat({ status: AgentStatus.ERROR, session: { bootId: "one", sequence: 1n } });
    const again = await api.heartbeat({
      status: AgentStatus.ERROR,
      session: { bootId: "two", sequence: 1n },
    });
    expect(again.transition).toBeUndefined();
    await api.reportError({ severity: Severity.FATAL, message: "fatal, but only reported" });
    const { agent: shown } = await stage.operator.fleet.getAgent({ agent: agent.name });
    expect(shown).toMatchObject({ status: AgentStatus.ERROR, version: 2n });
  });
});
