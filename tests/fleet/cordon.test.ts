import { Code, createClient, type Transport } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { AgentStatus, Cordon } from "../../gen/drover/v1/agent_pb.js";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { EventService } from "../../gen/drover/v1/event_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { TaskState } from "../../gen/drover/v1/task_pb.js";
import { TaskService } from "../../gen/drover/v1/task_service_pb.js";
import { startControlPlane, type TestControlPlane } from "../helpers/control-plane.ts";
import { createGrpcJsTransport } from "../helpers/grpc-js-transport.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { AgentLine, enroll } from "../sessions/agent-line.ts";

let server: TestControlPlane;
let transport: Transport & { close(): void };

beforeAll(async () => {
  server = await startControlPlane({ settings: { DROVER_HEARTBEAT_INTERVAL: "2s" } });
  transport = createGrpcJsTransport(server.grpcAddress);
});
afterAll(async () => {
  transport.close();
  await server.stop();
});

let kinds = 0;
const newKind = () => {
  kinds += 1;
  return `cordon-${kinds}`;
};

const operator = () => ({ headers: { authorization: `Bearer ${server.operatorToken}` } });
const fleet = () => createClient(FleetService, transport);
const tasks = () => createClient(TaskService, transport);
const calls = () => createClient(AgentService, transport);

async function newAgent() {
  const agent = await enroll(server, transport);
  const as = { headers: { authorization: `Bearer ${agent.token}` } };
  const beat = (more: object = {}) => calls().heartbeat({ status: AgentStatus.ONLINE, ...more }, as);
  await beat();
  const claim = async (kind: string, wait = 0) =>
    (await calls().claimTasks({ kinds: [kind], wait: { seconds: BigInt(wait) } }, as)).tasks;
  const show = async () => {
    const { agent: shown } = await fleet().getAgent({ agent: agent.name }, operator());
    if (shown === undefined) throw new Error("an answer without an agent");
    return shown;
  };
  return { ...agent, as, beat, claim, show };
}

const create = async (kind: string, priority = 5) => {
  const { task } = await tasks().createTask({ kind, priority }, operator());
  return task?.id ?? "";
};
const taskOf = async (id: string) => (await tasks().getTask({ task: id }, operator())).task;

const auditOf = async (subject: string) =>
  (
    await createClient(EventService, transport).listAuditEntries(
      { subject, field: "cordon", orderBy: "time" },
      operator(),
    )
  ).entries;

describe("a cordoned agent", () => {
  test("gets nothing new, goes on with what it holds, and gets work again when it is uncordoned", async () => {
    const agent = await newAgent();
    const kind = newKind();
    const held = await create(kind);
    expect(await agent.claim(kind)).toHaveLength(1);
    const { agent: cordoned } = await fleet().cordonAgent({ agent: agent.name, reason: "loud" }, operator());
    expect(cordoned).toMatchObject({ cordon: Cordon.CORDONED, cordonReason: "loud" });
    const waiting = await create(kind, 9);
    expect(await agent.claim(kind)).toEqual([]);
    expect((await agent.beat()).hasHighPriorityTasks).toBe(false);
    const { explanation } = await fleet().explainAgent({ agent: agent.name }, operator());
    expect(explanation?.reasons[0]).toMatchObject({ code: "AGENT_CORDONED" });
    expect(explanation?.reasons[0]?.message).toContain("(loud)");
    expect((await agent.beat()).commands).toMatchObject([{ kind: "cordon", reason: "loud" }]);
    await calls().completeTask({ task: held, leaseEpoch: 1n }, agent.as);
    const claiming = agent.claim(kind, 30);
    await fleet().uncordonAgent({ agent: agent.name }, operator());
    expect((await claiming).map(({ id }) => id)).toEqual([waiting]);
    expect(await agent.show()).toMatchObject({ cordon: Cordon.NONE, cordonReason: "" });
  });

  test("that waits for tasks takes none away from those that wait behind it", async () => {
    const [cordoned, ...others] = await Promise.all(Array.from({ length: 3 }, newAgent));
    if (cordoned === undefined) throw new Error("three were enrolled");
    const kind = newKind();
    await fleet().cordonAgent({ agent: cordoned.name }, operator());
    const vain = cordoned.claim(kind, 3);
    const claims = others.map((agent) => agent.claim(kind, 30));
    const created = [await create(kind), await create(kind)];
    const got = (await Promise.all(claims)).flat().map(({ id }) => id);
    expect(got.sort()).toEqual(created.sort());
    expect(await vain).toEqual([]);
  });

  test("gets no assignments by its stream until it is uncordoned", async () => {
    const agent = await newAgent();
    const kind = newKind();
    const line = new AgentLine(transport, agent.token);
    onTestFinished(() => line.cancel());
    await line.hello("boot");
    await fleet().cordonAgent({ agent: agent.name }, operator());
    expect((await line.hear())?.message).toMatchObject({ case: "command", value: { kind: "cordon" } });
    await line.ask({ case: "ready", value: { slots: 1, kinds: [kind] } });
    const id = await create(kind);
    await line.ask({ case: "heartbeat", value: { status: AgentStatus.ONLINE } });
    expect((await taskOf(id))?.state).toBe(TaskState.PENDING);
    await fleet().uncordonAgent({ agent: agent.name }, operator());
    const heard = [await line.hear(), await line.hear()].map((each) => each?.message);
    expect(heard.map((each) => each?.case).sort()).toEqual(["assignment", "command"]);
  });

  test("leaves an audit entry and an event for each change, none where nothing changes", async () => {
    const agent = await newAgent();
    const { version } = await agent.show();
    const request = { agent: agent.name, reason: "once", requestId: "q-1" };
    await fleet().cordonAgent(request, operator());
    await fleet().cordonAgent({ agent: agent.name, reason: "again" }, operator());
    await fleet().drainAgent({ agent: agent.name, deadline: { seconds: 600n } }, operator());
    await fleet().uncordonAgent({ agent: agent.name }, operator());
    await fleet().uncordonAgent({ agent: agent.name }, operator());
    const entries = await auditOf(agent.name);
    // The sweep may have found it drained before it was uncordoned.
    const chain = entries.map(({ action, from, to }) => [action, from, to]);
    expect(chain[0]).toEqual(["agent.cordoned", "none", "cordoned"]);
    expect(chain[1]).toEqual(["agent.draining", "cordoned", "draining"]);
    expect(chain.at(-1)?.[0]).toBe("agent.uncordoned");
    expect(entries.map((entry) => entry.version)).toEqual(entries.map((_, at) => version + BigInt(at + 1)));
    expect(entries[0]).toMatchObject({
      reason: "once",
      requestId: "q-1",
      actor: expect.stringMatching(/^token:/),
    });
    const { id } = await agent.show();
    const events = await server.database<{ type: string }>`
      SELECT type FROM events WHERE subject = ${id}
        AND type IN ('agent.cordoned', 'agent.draining', 'agent.uncordoned') ORDER BY id`;
    expect(events.map(({ type }) => type)).toEqual(chain.map(([action]) => action));
  });
});

describe("a draining agent", () => {
  test("finishes what it holds, gets nothing new, and is cordoned then", async () => {
    const agent = await newAgent();
    const kind = newKind();
    const held = await create(kind);
    await agent.claim(kind);
    const drain = { agent: agent.name, deadline: { seconds: 3600n }, reason: "upgrade" };
    const { agent: draining } = await fleet().drainAgent(drain, operator());
    expect(draining).toMatchObject({ cordon: Cordon.DRAINING, cordonReason: "upgrade" });
    expect(draining?.drainDeadline).toBeDefined();
    const [command] = (await agent.beat()).commands;
    expect(command).toMatchObject({ kind: "drain", reason: "upgrade" });
    expect(Number(command?.remaining?.seconds)).toBeGreaterThan(3500);
    await create(kind);
    expect(await agent.claim(kind)).toEqual([]);
    await calls().completeTask({ task: held, leaseEpoch: 1n }, agent.as);
    await waitFor(async () => (await agent.show()).cordon === Cordon.CORDONED, { what: "the drain's end" });
    expect((await agent.show()).drainDeadline).toBeUndefined();
    expect((await taskOf(held))?.state).toBe(TaskState.SUCCEEDED);
  });

  test("loses at the deadline what it still holds, as nobody's failure, and is told to stop", async () => {
    const [agent, other] = [await newAgent(), await newAgent()];
    const kind = newKind();
    const held = await create(kind);
    await agent.claim(kind);
    await agent.beat({ currentTask: { taskId: held, leaseEpoch: 1n } });
    const drain = { agent: agent.name, deadline: { seconds: 1n }, reason: "the room is rewired" };
    await fleet().drainAgent(drain, operator());
    await waitFor(async () => (await agent.show()).cordon === Cordon.CORDONED, { what: "the deadline" });
    expect(await taskOf(held)).toMatchObject({ state: TaskState.PENDING, losses: 0, retries: 0 });
    const kindsOf = (await agent.beat()).commands.map((command) => [command.kind, command.taskId]);
    expect(kindsOf).toEqual([
      ["drain", ""],
      ["cancelTask", held],
    ]);
    expect((await other.claim(kind, 10)).map(({ id }) => id)).toEqual([held]);
    await expect(calls().completeTask({ task: held, leaseEpoch: 1n }, agent.as)).rejects.toMatchObject({
      code: Code.FailedPrecondition,
    });
    const last = (await auditOf(agent.name)).at(-1);
    expect(last).toMatchObject({ actor: "server", from: "draining", to: "cordoned", reason: "drained" });
    // Whoever asks later why it gets nothing hears what it was drained for.
    expect((await agent.show()).cordonReason).toBe("the room is rewired");
  });

  test("gets another deadline by another drain, which is audited without a version", async () => {
    const agent = await newAgent();
    const kind = newKind();
    await create(kind);
    await agent.claim(kind);
    await fleet().drainAgent({ agent: agent.name, deadline: { seconds: 60n } }, operator());
    const { version, drainDeadline: first } = await agent.show();
    const drain = { agent: agent.name, deadline: { seconds: 7200n } };
    const { agent: again } = await fleet().drainAgent(drain, operator());
    expect(again?.version).toBe(version);
    expect(Number(again?.drainDeadline?.seconds)).toBeGreaterThan(Number(first?.seconds) + 6000);
    const { entries } = await createClient(EventService, transport).listAuditEntries(
      { subject: agent.name, action: ["agent.drain_deadline_changed"] },
      operator(),
    );
    expect(entries).toHaveLength(1);
    expect(entries[0]).toMatchObject({ field: "", version: 0n });
    expect(Date.parse(entries[0]?.to ?? "") - Date.parse(entries[0]?.from ?? "")).toBeGreaterThan(6_000_000);
  });
});

test.each([
  [{ deadline: { seconds: -1n } }, Code.InvalidArgument],
  [{ deadline: { seconds: 2_592_001n } }, Code.InvalidArgument],
  [{ reason: "x".repeat(1025) }, Code.InvalidArgument],
  [{ agent: "nobody" }, Code.NotFound],
])("a drain of %o is refused", async (wish, code) => {
  const { name } = await newAgent();
  await expect(fleet().drainAgent({ agent: name, ...wish }, operator())).rejects.toMatchObject({ code });
});
