import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { TokenRole } from "../../gen/drover/v1/token_service_pb.js";
import { codeOf } from "../helpers/code-of.ts";
import {
  connectFleet,
  DOORS,
  type EnrolledAgent,
  enrollAgent,
  enrollAgents,
  type Fleet,
} from "../helpers/fleet-api.ts";
import { type ServerProcess, startServer } from "../helpers/server-process.ts";
import { type Stage, setStage } from "../helpers/stage.ts";
import { holdLock } from "../helpers/stop-point.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { acceptedAfterRevocation, outcomeBehindLock, tokenIdOf } from "./check-revocation.ts";

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

  test("also among calls of others at the same moment, each of which is told apart", async () => {
    const agents = await enrollAgents(stage.fleet, stage.operator, 12);
    const gone = agents.filter((_, index) => index % 3 === 0);
    for (const agent of gone)
      await stage.operator.tokens.revokeToken({ token: await tokenIdOf(stage, agent) });
    const calls = Array.from({ length: 10 }, () => agents).flat();
    const outcomes = await Promise.all(
      calls.map(async (agent, index) => {
        const api = stage.fleet.agent(agent.token, DOORS[index % DOORS.length]);
        const acknowledged = api.heartbeat({ status: AgentStatus.ONLINE });
        return gone.includes(agent) ? await codeOf(acknowledged) : (await acknowledged).acknowledged;
      }),
    );
    expect(outcomes).toEqual(calls.map((agent) => (gone.includes(agent) ? "Unauthenticated" : true)));
    const { agents: shown } = await stage.operator.fleet.listAgents({ pageSize: 100 });
    const heard = new Set(
      shown.filter(({ lastHeartbeatAt }) => lastHeartbeatAt !== undefined).map(({ name }) => name),
    );
    expect(agents.filter(({ name }) => heard.has(name))).toEqual(
      agents.filter((agent) => !gone.includes(agent)),
    );
  });

  test("nor is a task given to a claim that waited for one", async () => {
    const agent = await enrollAgent(stage.fleet, stage.operator);
    const kind = agent.name;
    const claim = stage.fleet
      .agent(agent.token)
      .claimTasks({ kinds: [kind], max: 1, wait: { seconds: 20n } });
    const outcome = codeOf(claim);
    await stage.operator.tokens.revokeToken({ token: await tokenIdOf(stage, agent) });
    await pause(1_000);
    const { task } = await stage.operator.tasks.createTask({ kind });
    expect(await outcome).toBe("Unauthenticated");
    expect((await stage.operator.tasks.getTask({ task: task?.id ?? "" })).task?.attempt).toBe(0);
  });

  describe("nor what stood behind a lock meanwhile:", () => {
    const lockOf = ({ uuid }: EnrolledAgent) =>
      `SELECT 1 FROM agent_states WHERE agent_id = '${uuid}' FOR UPDATE`;
    const shownOf = async ({ name }: EnrolledAgent) => await stage.operator.fleet.getAgent({ agent: name });

    test("a heartbeat, an error report", async () => {
      const calls = [
        (agent: EnrolledAgent) => stage.fleet.agent(agent.token).heartbeat({ status: AgentStatus.BUSY }),
        (agent: EnrolledAgent) =>
          stage.fleet
            .agent(agent.token)
            .reportError({ severity: Severity.MAJOR, message: "late", requestId: "r" }),
      ];
      for (const call of calls) {
        const agent = await enrollAgent(stage.fleet, stage.operator);
        const before = await shownOf(agent);
        const tokenId = await tokenIdOf(stage, agent);
        const outcome = await outcomeBehindLock(stage, lockOf(agent), tokenId, () => call(agent));
        expect(outcome).toBe("Unauthenticated");
        expect(await shownOf(agent)).toEqual(before);
      }
    });

    test("an operator's change, a viewer's look", async () => {
      const agent = await enrollAgent(stage.fleet, stage.operator);
      await stage.fleet.agent(agent.token).heartbeat({ status: AgentStatus.ERROR });
      const before = await shownOf(agent);
      const operator = await stage.operator.tokens.createToken({ role: TokenRole.OPERATOR });
      const change = () => stage.fleet.operator(operator.secret).fleet.resetAgent({ agent: agent.name });
      expect(await outcomeBehindLock(stage, lockOf(agent), operator.token?.id ?? "", change)).toBe(
        "Unauthenticated",
      );
      expect(await shownOf(agent)).toEqual(before);

      const viewer = await stage.operator.tokens.createToken({ role: TokenRole.VIEWER });
      const look = () => stage.fleet.operator(viewer.secret).fleet.listErrors({});
      const lock = "LOCK TABLE error_reports IN ACCESS EXCLUSIVE MODE";
      expect(await outcomeBehindLock(stage, lock, viewer.token?.id ?? "", look)).toBe("Unauthenticated");
    });

    test("an enrollment asked for again", async () => {
      const { token, secret } = await stage.operator.tokens.createToken({ role: TokenRole.ENROLLMENT });
      const enroll = () => stage.fleet.agent(secret).enroll({ name: "asked-again", nonce: "n" });
      const { secret: agentToken } = await enroll();
      // The enrollment holds its token's row, so a revocation waits for it: it must come before it in the queue.
      const row = `SELECT 1 FROM tokens WHERE id = '${token?.id.replace("token_", "")}' FOR UPDATE`;
      const lock = await holdLock(stage.databaseUrl, row);
      const revocation = stage.operator.tokens.revokeToken({ token: token?.id ?? "" });
      await lock.reached();
      const again = codeOf(enroll());
      await waitFor(async () => (await lock.waiting()) === 2, { what: "both behind the lock" });
      await pause(1_000);
      await lock.release();
      await revocation;
      expect(await again).toBe("Unauthenticated");
      const beat = stage.fleet.agent(agentToken).heartbeat({ status: AgentStatus.ONLINE });
      expect(await codeOf(beat)).toBe("ok");
    });
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

  test.each([TokenRole.OPERATOR, TokenRole.VIEWER])(
    "of an operator's or a viewer's, role %i",
    async (role) => {
      const { token, secret } = await stage.operator.tokens.createToken({ role });
      const apis = [stage.fleet, replicaFleet].map((fleet) => fleet.operator(secret).fleet);
      for (const api of apis) expect(await codeOf(api.listAgents({}))).toBe("ok");
      await stage.operator.tokens.revokeToken({ token: token?.id ?? "" });
      for (const api of apis) expect(await codeOf(api.listAgents({}))).toBe("Unauthenticated");
    },
  );

  test("of an enrollment token, whose agents live on", async () => {
    const { token, secret } = await stage.operator.tokens.createToken({
      role: TokenRole.ENROLLMENT,
      maxUses: 5,
    });
    const { secret: agentSecret } = await stage.fleet
      .agent(secret)
      .enroll({ name: "outlives-its-enrollment" });
    await stage.operator.tokens.revokeToken({ token: token?.id ?? "" });
    expect(await codeOf(stage.fleet.agent(secret).enroll({ name: "too-late" }))).toBe("Unauthenticated");
    expect(await codeOf(stage.fleet.agent(agentSecret).heartbeat({ status: AgentStatus.ONLINE }))).toBe("ok");
  });
});
