import { create } from "@bufbuild/protobuf";
import { createContextValues, createHandlerContext } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AgentService, LeaveRequestSchema } from "../../gen/drover/v1/agent_service_pb.js";
import { type AgentCaller, callerKey } from "../../src/identity/caller.ts";
import { createLeaveRpc } from "../../src/liveness/leave-rpc.ts";
import { newUuid } from "../../src/runtime/resource-id.ts";
import { pack, refusalOf, startTaskFixture, type TaskFixture } from "../tasks/task-fixture.ts";
import { livenessLog, livenessOf } from "./sweep-fixture.ts";

let fixture: TaskFixture;
const told: string[] = [];
beforeAll(async () => {
  fixture = await startTaskFixture();
});
afterAll(() => fixture.stop());

async function leave(agent: AgentCaller, requestId = ""): Promise<void> {
  const rpc = createLeaveRpc(fixture.database.db, fixture.held, ({ agentName }, { from, to, reason }) =>
    told.push([agentName, from, to, reason].join(" ")),
  );
  const context = createHandlerContext({
    service: AgentService,
    method: AgentService.method.leave,
    protocolName: "grpc",
    requestMethod: "POST",
    url: "http://localhost/",
    contextValues: createContextValues().set(callerKey, agent),
  });
  await rpc.leave(create(LeaveRequestSchema, { requestId }), context);
}

async function lend(name: string): Promise<{ agent: AgentCaller; id: string }> {
  const agent = await fixture.enroll(name);
  await fixture.beat(agent);
  const id = await fixture.add({ kind: name });
  await fixture.claim(agent, 1, [name]);
  return { agent, id };
}

test("an agent that leaves is offline at once, and what it held is free again, as nobody's failure", async () => {
  const { agent, id } = await lend("leaver");
  await fixture.loans.update(agent, id, 1n, { progress: 0.5, detail: undefined });
  await leave(agent, "once");
  expect(await livenessOf(fixture, agent)).toBe("offline");
  expect((await livenessLog(fixture, agent)).slice(1)).toEqual([
    ["live", "offline", 3n, "agent:leaver", "left"],
  ]);
  expect(told).toEqual(["leaver live offline left"]);
  expect((await fixture.show(id)).task).toMatchObject({ state: "pending", retries: 0, losses: 0 });
  const attempts = await fixture.database.sql`SELECT outcome FROM task_attempts WHERE task_id = ${id}`;
  expect(attempts).toEqual([{ outcome: "returned" }]);
  const late = fixture.loans.complete(agent, id, 1n, pack("late"));
  expect(await refusalOf(late)).toEqual({ kind: "failed-precondition", reason: "LEASE_LOST" });

  const other = await fixture.enroll("heir");
  expect(await fixture.claim(other, 1, ["leaver"])).toMatchObject([{ id, leaseEpoch: 2n, attempt: 2 }]);
});

test("its next heartbeat brings it back; a repeat of the call does not send it away again", async () => {
  const { agent } = await lend("returner");
  const requestId = newUuid();
  await leave(agent, requestId);
  await fixture.beat(agent);
  expect(await livenessOf(fixture, agent)).toBe("live");
  const id = await fixture.add({ kind: "again" });
  await fixture.claim(agent, 1, ["again"]);
  await leave(agent, requestId);
  expect(await livenessOf(fixture, agent)).toBe("live");
  expect((await fixture.show(id)).task.state).toBe("leased");
  expect((await livenessLog(fixture, agent)).map(([from, to]) => `${from} ${to}`)).toEqual([
    "never live",
    "live offline",
    "offline live",
  ]);
});

test("whoever is offline already leaves no second entry, and still gives back what it holds", async () => {
  const agent = await fixture.enroll("twice");
  await leave(agent);
  expect((await livenessLog(fixture, agent)).map(([from, to]) => `${from} ${to}`)).toEqual(["never offline"]);
  const id = await fixture.add({ kind: "twice" });
  await fixture.claim(agent, 1, ["twice"]);
  await leave(agent);
  expect((await fixture.show(id)).task.state).toBe("pending");
  expect(await livenessLog(fixture, agent)).toHaveLength(1);
});

test("a stale agent counts as live in the log", async () => {
  const agent = await fixture.enroll("stale");
  await fixture.beat(agent);
  await fixture.database.sql`UPDATE agent_states SET liveness = 'stale' WHERE agent_id = ${agent.agentId}`;
  await leave(agent);
  expect((await livenessLog(fixture, agent)).at(-1)?.slice(0, 2)).toEqual(["live", "offline"]);
});

test("an agent in error may leave, and stays in error", async () => {
  const agent = await fixture.enroll("in-error");
  await fixture.beat(agent, { error: { severity: "fatal", message: "gone", context: undefined } });
  await leave(agent);
  const rows = await fixture.database.sql`
    SELECT status, liveness FROM agent_states WHERE agent_id = ${agent.agentId}`;
  expect(rows).toEqual([{ status: "error", liveness: "offline" }]);
});

test("an agent that was removed is not found", async () => {
  const agent = await fixture.enroll("removed");
  await fixture.database.sql`DELETE FROM agent_states WHERE agent_id = ${agent.agentId}`;
  expect(await refusalOf(leave(agent))).toEqual({ kind: "not-found", reason: "AGENT_REMOVED" });
});
