import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import type { Sql } from "postgres";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.js";
import { startControlPlane, type TestControlPlane } from "../helpers/control-plane.ts";
import { connectFleet, enrollAgent, type Fleet } from "../helpers/fleet-api.ts";
import { openRawSql } from "../helpers/raw-sql.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { AgentLine, openTransport, WAYS } from "../sessions/agent-line.ts";

let planes: readonly TestControlPlane[];
let fleets: readonly Fleet[];
let transports: ReturnType<typeof openTransport>[];
let sql: Sql;

beforeAll(async () => {
  // What servers do every second by looking at the database they do here when a test says so, and not by themselves.
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  const first = await startControlPlane();
  planes = [first, await startControlPlane({ on: first.home })];
  fleets = planes.map((plane) => connectFleet({ ...plane, grpcTarget: plane.grpcAddress }));
  transports = planes.map((plane) => openTransport(plane, WAYS[0]));
  sql = openRawSql(first.home.databaseUrl, 2);
  await makeAcquainted();
});
afterAll(async () => {
  for (const { close } of [...transports, ...fleets]) close();
  await sql.end();
  for (const plane of planes.toReversed()) await plane.stop();
  vi.useRealTimers();
});

/** Lets every server look at the database once, unless it is looking. */
const look = () => void vi.advanceTimersByTime(1_000);

/** What comes of it, for as long as servers look and it has not come. */
async function foundByLooking<T>(coming: Promise<T>): Promise<T> {
  return await until(coming, look);
}

/** What comes of it, with `act` done again and again until then. */
async function until<T>(coming: Promise<T>, act: () => unknown): Promise<T> {
  let isThere = false;
  const there = coming.finally(() => {
    isThere = true;
  });
  there.catch(() => {});
  const ask = async () => {
    if (!isThere) await act();
    return isThere;
  };
  await waitFor(ask, { what: "what this should bring about", everyMs: 20 });
  return await there;
}

/** Resolves when the first server knows that there is another one: until then it says nothing. */
async function makeAcquainted(): Promise<void> {
  const { fleet, operator } = operatorAt(0);
  const agent = await enrollAgent(fleet, operator);
  const [, transport] = transports;
  if (transport === undefined) throw new Error("there are two");
  const line = new AgentLine(transport, agent.token);
  await line.hello("boot");
  await until(line.hear(), () => operator.fleet.sendCommand({ agent: agent.name, kind: "echo" }));
  line.cancel();
}

const operatorAt = (server: 0 | 1) => {
  const fleet = fleets[server];
  if (fleet === undefined) throw new Error("there are two");
  return { fleet, operator: fleet.operator(planes[0]?.operatorToken ?? "") };
};

/** An agent, and how it opens a stream on the one server or the other. */
async function newAgent() {
  const { fleet, operator } = operatorAt(0);
  const agent = await enrollAgent(fleet, operator);
  const open = async (server: 0 | 1, bootId: string) => {
    const transport = transports[server];
    if (transport === undefined) throw new Error("there are two");
    const line = new AgentLine(transport, agent.token);
    return { line, ...(await line.hello(bootId)) };
  };
  return { ...agent, open };
}

/** The code and the reason that ended a stream, which its server finds by looking. */
async function endOf(line: AgentLine): Promise<unknown[]> {
  const error = await foundByLooking(line.end());
  return [error?.code, error?.findDetails(ErrorInfoSchema)[0]?.reason];
}

const beat = (bootId: string, sequence: bigint) =>
  ({ case: "heartbeat", value: { status: AgentStatus.ONLINE, session: { bootId, sequence } } }) as const;

test("a stream that the same run opens on another server ends the one before, there and back", async () => {
  const agent = await newAgent();
  const first = await agent.open(0, "boot");
  const second = await agent.open(1, "boot");
  expect(second.epoch).toBe(first.epoch);
  expect(await endOf(first.line)).toEqual([Code.Aborted, "STREAM_REPLACED"]);
  expect(await second.line.ask(beat("boot", 0n))).toMatchObject({ case: "heartbeat" });
  const third = await agent.open(0, "boot");
  expect(await endOf(second.line)).toEqual([Code.Aborted, "STREAM_REPLACED"]);
  expect(await third.line.ask(beat("boot", 1n))).toMatchObject({
    case: "heartbeat",
    value: { duplicate: false },
  });
  third.line.hangUp();
  expect(await third.line.end()).toBeUndefined();
});

test("a stream of a newer run on another server ends the older run's", async () => {
  const agent = await newAgent();
  const older = await agent.open(0, "first");
  const newer = await agent.open(1, "second");
  expect(await endOf(older.line)).toEqual([Code.Aborted, "SESSION_SUPERSEDED"]);
  expect(await newer.line.ask(beat("second", 0n))).toMatchObject({ case: "heartbeat" });
  newer.line.cancel();
});

test("what a replaced stream leaves behind harms nothing that its successor holds", async () => {
  const agent = await newAgent();
  const { operator } = operatorAt(1);
  const kind = agent.name;
  const replaced = await agent.open(0, "boot");
  await replaced.line.ask({ case: "ready", value: { slots: 2, kinds: [kind] } });
  const newest = await agent.open(1, "boot");
  // Both have room while the first server does not know yet; whatever it takes goes back when the stream ends.
  await newest.line.ask({ case: "ready", value: { slots: 2, kinds: [kind] } });
  expect(await endOf(replaced.line)).toEqual([Code.Aborted, "STREAM_REPLACED"]);
  const { task } = await operator.tasks.createTask({ kind });
  const heard = (await newest.line.hear())?.message;
  if (heard?.case !== "assignment") throw new Error(`expected an assignment, heard ${heard?.case}`);
  expect(heard.value.id).toBe(task?.id);
  replaced.line.cancel();
  const completed = { task: heard.value.id, leaseEpoch: heard.value.lease?.epoch ?? 0n };
  expect(await newest.line.ask({ case: "taskComplete", value: completed })).toMatchObject({
    case: "taskComplete",
  });
  newest.line.cancel();
});

test("an agent that recovers by a call to another server is given tasks by its stream again", async () => {
  const agent = await newAgent();
  const { fleet, operator } = operatorAt(0);
  const { line } = await agent.open(1, "boot");
  const fatal = { severity: Severity.FATAL, message: "out of memory" };
  await line.ask({ case: "heartbeat", value: { status: AgentStatus.ONLINE, error: fatal } });
  await line.ask({ case: "ready", value: { slots: 1, kinds: [agent.name] } });
  const { task } = await operator.tasks.createTask({ kind: agent.name });
  const recovered = await fleet.agent(agent.token).heartbeat({ status: AgentStatus.ONLINE });
  expect(recovered.transition).toMatchObject({ from: AgentStatus.ERROR, to: AgentStatus.ONLINE });
  expect((await line.hear())?.message).toMatchObject({ case: "assignment", value: { id: task?.id } });
  line.cancel();
});

test("a server tells others of tasks and commands for agents that are not its own, and of nothing else", async () => {
  const agent = await newAgent();
  const [here, there] = [operatorAt(0), operatorAt(1)];
  const heard: Record<string, unknown>[] = [];
  const { unlisten } = await sql.listen("drover_servers", (payload) => {
    for (const text of payload.split("\n").slice(1)) heard.push(JSON.parse(text));
  });
  const { line } = await agent.open(1, "boot");
  const kind = (name: string) => `${agent.name}-${name}`;
  await line.ask({ case: "ready", value: { slots: 8, kinds: [kind("here"), kind("elsewhere")] } });
  for (const [{ operator }, name] of [
    [there, "here"],
    [here, "elsewhere"],
  ] as const) {
    const { task } = await operator.tasks.createTask({ kind: kind(name) });
    expect((await line.hear())?.message).toMatchObject({ case: "assignment", value: { id: task?.id } });
  }
  for (const { operator, fleet } of [there, here]) {
    const { command } = await operator.fleet.sendCommand({ agent: agent.name, kind: "echo" });
    expect((await line.hear())?.message).toMatchObject({ case: "command", value: command ?? {} });
    await fleet.agent(agent.token).heartbeat({ status: AgentStatus.BUSY });
    await line.ask(beat("boot", 0n));
  }
  // What nobody waits for is told by either, after all that was said before.
  const last = [here, there].map(async ({ operator }, server) => {
    await operator.tasks.createTask({ kind: kind(`last-${server}`) });
  });
  await Promise.all(last);
  const heardOf = (name: string) => heard.some((hint) => hint.kind === kind(name));
  await waitFor(() => heardOf("last-0") && heardOf("last-1"), { what: "the last hints" });
  // While its claim is under way an agent waits for nothing, so that its own server may have said a word too many.
  expect(heard.filter((hint) => hint.kind !== kind("here"))).toEqual([
    expect.objectContaining({ about: "tasks", kind: kind("elsewhere") }),
    { about: "command", agentId: agent.uuid },
    expect.objectContaining({ about: "tasks", kind: expect.stringContaining("-last-") }),
    expect.objectContaining({ about: "tasks", kind: expect.stringContaining("-last-") }),
  ]);
  await unlisten();
  line.cancel();
});

test("a claim that waits and a stream of commands are woken by what another server was asked, at once", async () => {
  const [claiming, listening] = [await newAgent(), await newAgent()];
  const [here, there] = [operatorAt(0), operatorAt(1)];
  await here.operator.tasks.createTask({ kind: `${claiming.name}-of-nobody` });
  const claimer = there.fleet.agent(claiming.token);
  await claimer.heartbeat({ status: AgentStatus.ONLINE });
  const claim = claimer.claimTasks({ kinds: [claiming.name], wait: { seconds: 30n } });
  const asks = async () => {
    const { explanation } = await there.operator.fleet.explainAgent({ agent: claiming.name });
    return explanation?.reasons.some(({ code }) => code === "ASKS_FOR_OTHER_KINDS");
  };
  await waitFor(asks, { what: "the wait for tasks" });
  const { task } = await here.operator.tasks.createTask({ kind: claiming.name });
  expect((await claim).tasks).toMatchObject([{ id: task?.id }]);

  const watch = there.fleet.agent(listening.token).watchCommands({})[Symbol.asyncIterator]();
  const heard = watch.next();
  const listens = async () => {
    look();
    const open = await sql`SELECT 1 FROM agent_streams WHERE agent_id = ${listening.uuid}`;
    return open.length === 1;
  };
  await waitFor(listens, { what: "the stream" });
  const { command } = await here.operator.fleet.sendCommand({ agent: listening.name, kind: "echo" });
  expect((await heard).value).toMatchObject({ command: { sequence: command?.sequence } });
  await watch.return?.();
});

test("what no server told of is found by the next look, and not before", async () => {
  const agent = await newAgent();
  const { operator } = operatorAt(0);
  const { line } = await agent.open(1, "boot");
  await line.ask({ case: "ready", value: { slots: 1, kinds: [agent.name] } });
  const notBefore = timestampFromMs(Date.now() + 3_600_000);
  const { task } = await operator.tasks.createTask({ kind: agent.name, notBefore });
  await sql`UPDATE tasks SET due_at = clock_timestamp() WHERE id = ${task?.id.replace("task_", "") ?? ""}`;
  const { command } = await operator.fleet.sendCommand({ agent: agent.name, kind: "echo" });
  expect((await line.hear())?.message).toMatchObject({ case: "command", value: command ?? {} });
  const found = await foundByLooking(line.hear());
  expect(found?.message).toMatchObject({ case: "assignment", value: { id: task?.id } });
  line.cancel();
});
