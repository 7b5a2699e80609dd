import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { codeOf } from "../helpers/code-of.ts";
import { enrollAgents } from "../helpers/fleet-api.ts";
import { type Stage, setStage } from "../helpers/stage.ts";
import { changeOwn, createTenant, reachesInto, rowsOf, type Tenant } from "./check-isolation.ts";

let stage: Stage;
let north: Tenant;
let south: Tenant;
beforeAll(async () => {
  stage = await setStage();
  north = await createTenant(stage, "north");
  south = await createTenant(stage, "south");
});
afterAll(async () => {
  await stage.close();
});

describe("nothing crosses a project", () => {
  test("neither read nor written, by any operator's or viewer's call", async () => {
    const before = await rowsOf(stage, south);
    expect(Object.values(before).flat().length).toBeGreaterThan(12);
    expect(await reachesInto(stage, north, south)).toEqual([]);
    expect(await rowsOf(stage, south)).toEqual(before);
  });

  test("nor by changes to what bears the same name in both", async () => {
    const before = await rowsOf(stage, south);
    await changeOwn(stage, north);
    expect(await rowsOf(stage, south)).toEqual(before);
  });

  test("nor by a page token of the other's list", async () => {
    for (const { operator } of [north, south]) {
      const first = await operator.events.listAuditEntries({ pageSize: 2 });
      const other = operator === north.operator ? south : north;
      const call = other.operator.events.listAuditEntries({ pageSize: 100, pageToken: first.nextPageToken });
      const code = await codeOf(call);
      if (code !== "ok") expect(code).toBe("InvalidArgument");
      else {
        const own = new Set((await other.operator.events.listAuditEntries({})).entries.map(({ id }) => id));
        for (const { id } of (await call).entries) expect(own).toContain(id);
      }
    }
  });

  test("the server's own operator token speaks for the project it names, and for no unknown one", async () => {
    const inSouth = stage.fleet.operator(stage.operatorToken, "south");
    const { errors } = await inSouth.fleet.listErrors({});
    expect(errors.map(({ message }) => message).sort()).toEqual(["of south", "reported in south"]);
    expect(await codeOf(stage.fleet.operator(stage.operatorToken, "west").fleet.listAgents({}))).toBe(
      "NotFound",
    );
  });
});

describe("nothing crosses an agent", () => {
  test("what one says of itself, its errors and its tokens touch no other", async () => {
    const [one, two] = await enrollAgents(stage.fleet, stage.operator, 2);
    if (one === undefined || two === undefined) throw new Error("two agents are needed");
    const session = { bootId: "the same in both", sequence: 1n };
    const calm = await stage.fleet.agent(one.token).heartbeat({ status: AgentStatus.ONLINE, session });
    expect(calm.duplicate).toBe(false);
    const before = await stage.operator.fleet.getAgent({ agent: one.name });

    const api = stage.fleet.agent(two.token);
    const fatal = { severity: Severity.FATAL, message: "mine alone" };
    const answer = await api.heartbeat({
      status: AgentStatus.BUSY,
      session,
      error: fatal,
      labels: { zone: "b" },
    });
    expect(answer.duplicate).toBe(false);
    await api.reportError({ severity: Severity.CRITICAL, message: "mine too", requestId: "r" });
    await api.rotateToken({ requestId: "r" });

    expect(await stage.operator.fleet.getAgent({ agent: one.name })).toEqual(before);
    expect(await codeOf(stage.fleet.agent(one.token).heartbeat({ status: AgentStatus.ONLINE }))).toBe("ok");
    const { errors } = await stage.operator.fleet.listErrors({ agent: two.name });
    expect(errors.map(({ agent }) => agent)).toEqual([two.name, two.name]);
  });

  test("an agent's token opens nothing of operators, an operator's nothing of agents", async () => {
    const [agent] = await enrollAgents(stage.fleet, stage.operator, 1);
    const asOperator = stage.fleet.operator(agent?.token ?? "");
    const asAgent = stage.fleet.agent(stage.operatorToken);
    const calls = [
      () => asOperator.fleet.listAgents({}),
      () => asOperator.fleet.getAgent({ agent: agent?.name ?? "" }),
      () => asOperator.fleet.listErrors({}),
      () => asOperator.events.listAuditEntries({}),
      () => asOperator.tokens.listTokens({}),
      () => asAgent.heartbeat({ status: AgentStatus.ONLINE }),
      () => asAgent.enroll({ name: "by-operator" }),
      () => stage.fleet.agent(agent?.token ?? "").enroll({ name: "by-agent" }),
    ];
    for (const call of calls) expect(await codeOf(call())).toBe("PermissionDenied");
  });
});
