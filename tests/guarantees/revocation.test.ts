import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { TokenRole } from "../../gen/drover/v1/token_service_pb.js";
import { codeOf } from "../helpers/code-of.ts";
import { type ServerProcess, startServer } from "../helpers/server-process.ts";
import { acceptedAfterRevocation, outcomeBehindLock } from "./check-revocation.ts";
import { connectFleet, DOORS, enrollAgent, type Fleet } from "./fleet.ts";
import { setStage, type Stage } from "./stage.ts";

describe("a second after a revocation is acknowledged, nothing of that token's is accepted", () => {
  let stage: Stage;
  let replica: ServerProcess;
  let replicaFleet: Fleet;
  beforeAll(async () => {
    stage = await setStage();
    replica = await startServer({ databaseUrl: stage.databaseUrl });
    replicaFleet = connectFleet(replica);
  });
  afterAll(async () => {
    replicaFleet.close();
    await replica.stop();
    await stage.close();
  });

  test("through no door of any server on the database", async () => {
    expect(await acceptedAfterRevocation(stage, [stage.fleet, replicaFleet])).toEqual([]);
  });

  test("nor what stood behind a lock meanwhile", async () => {
    expect(await outcomeBehindLock(stage)).toEqual({ code: "Unauthenticated", status: "pending" });
  });

  test("nor after an agent was removed", async () => {
    const agent = await enrollAgent(stage.fleet, stage.operator);
    await stage.operator.fleet.removeAgent({ agent: agent.name });
    for (const fleet of [stage.fleet, replicaFleet]) {
      for (const door of DOORS) {
        const call = fleet.agent(agent.token, door).heartbeat({ status: AgentStatus.ONLINE });
        expect(await codeOf(call)).toBe("Unauthenticated");
      }
    }
  });

  test.each([TokenRole.OPERATOR, TokenRole.VIEWER])("of an operator's or a viewer's, role %i", async (role) => {
    const { token, secret } = await stage.operator.tokens.createToken({ role });
    const apis = [stage.fleet, replicaFleet].map((fleet) => fleet.operator(secret).fleet);
    for (const api of apis) expect(await codeOf(api.listAgents({}))).toBe("ok");
    await stage.operator.tokens.revokeToken({ token: token?.id ?? "" });
    for (const api of apis) expect(await codeOf(api.listAgents({}))).toBe("Unauthenticated");
  });

  test("of an enrollment token, whose agents live on", async () => {
    const { token, secret } = await stage.operator.tokens.createToken({ role: TokenRole.ENROLLMENT, maxUses: 5 });
    const { secret: agentSecret } = await stage.fleet.agent(secret).enroll({ name: "outlives-its-enrollment" });
    await stage.operator.tokens.revokeToken({ token: token?.id ?? "" });
    expect(await codeOf(stage.fleet.agent(secret).enroll({ name: "too-late" }))).toBe("Unauthenticated");
    expect(await codeOf(stage.fleet.agent(agentSecret).heartbeat({ status: AgentStatus.ONLINE }))).toBe("ok");
  });
});
