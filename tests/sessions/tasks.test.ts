import { Code, createClient, type Transport } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus, Liveness } from "../../gen/drover/v1/agent_pb.js";
import { AgentService, type SessionResponse } from "../../gen/drover/v1/agent_service_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { type Task, TaskState } from "../../gen/drover/v1/task_pb.js";
import { TaskService } from "../../gen/drover/v1/task_service_pb.js";
import { startControlPlane, type TestControlPlane } from "../helpers/control-plane.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { AgentLine, enroll, openTransport, WAYS } from "./agent-line.ts";

let server: TestControlPlane;

beforeAll(async () => {
  server = await startControlPlane({ settings: { DROVER_RETRY_BACKOFF: "1s" } });
});
afterAll(async () => {
  await server.stop();
});

let kinds = 0;
/** A kind that no other test's agent takes. */
const newKind = () => {
  kinds += 1;
  return `kind-${kinds}`;
};

describe.each(WAYS)("%s", (way) => {
  let transport: Transport & { close(): void };

  beforeAll(() => {
    transport = openTransport(server, way);
  });
  afterAll(() => transport.close());

  const operator = () => ({ headers: { authorization: `Bearer ${server.operatorToken}` } });
  const tasks = () => createClient(TaskService, transport);
  const createTask = async (kind: string, more: object = {}): Promise<Task> => {
    const { task } = await tasks().createTask({ kind, ...more }, operator());
    if (task === undefined) throw new Error("no task was created");
    return task;
  };

  const open = async (bootId = "boot") => {
    const agent = await enroll(server, transport);
    const line = new AgentLine(transport, agent.token);
    await line.hello(bootId);
    return { ...agent, line };
  };

  const ready = (slots: number, kind: string) => ({
    case: "ready" as const,
    value: { slots, kinds: [kind] },
  });

  test("assigns what waits and what appears, never more than there are slots", async () => {
    const kind = newKind();
    const { line } = await open();
    const waiting = await createTask(kind);
    expect(await line.ask(ready(2, kind))).toMatchObject({ case: "done" });
    expect(assigned(await line.hear())).toMatchObject({ id: waiting.id, attempt: 1, lease: { epoch: 1n } });
    const appeared = await createTask(kind);
    expect(assigned(await line.hear())).toMatchObject({ id: appeared.id });
    const beyond = await createTask(kind);
    await line.ask({ case: "heartbeat", value: { status: AgentStatus.BUSY } });
    const { task } = await tasks().getTask({ task: beyond.id }, operator());
    expect(task?.attempt).toBe(0);
    expect(await line.ask(ready(1, kind))).toMatchObject({ case: "done" });
    expect(assigned(await line.hear())).toMatchObject({ id: beyond.id });
    line.cancel();
  });

  test("carries a task from its assignment to its end", async () => {
    const kind = newKind();
    const { line, name } = await open();
    await line.ask(ready(1, kind));
    const { id } = await createTask(kind, { payload: { kind: { case: "stringValue", value: "in" } } });
    const task = assigned(await line.hear());
    expect(task.payload?.kind).toEqual({ case: "stringValue", value: "in" });
    const leaseEpoch = task.lease?.epoch ?? 0n;
    const update = { task: id, leaseEpoch, progress: 0.5, detail: "half" };
    expect(await line.ask({ case: "taskUpdate", value: update })).toMatchObject({
      case: "taskUpdate",
      value: { lease: { epoch: leaseEpoch } },
    });
    const wrong = await line.ask({ case: "taskComplete", value: { task: id, leaseEpoch: leaseEpoch + 1n } });
    expect(wrong).toMatchObject({
      case: "refusal",
      value: { code: Code.FailedPrecondition, reason: "LEASE_LOST" },
    });
    const result = { kind: { case: "stringValue" as const, value: "out" } };
    const done = await line.ask({ case: "taskComplete", value: { task: id, leaseEpoch, result } });
    expect(done).toMatchObject({ case: "taskComplete", value: { task: { id, agent: name, progress: 1 } } });
    line.cancel();
  });

  test("assigns nothing while in error, and again after the recovery", async () => {
    const kind = newKind();
    const { line } = await open();
    const error = { severity: Severity.FATAL, message: "burnt" };
    await line.ask({ case: "heartbeat", value: { status: AgentStatus.BUSY, error } });
    await line.ask(ready(1, kind));
    const { id } = await createTask(kind);
    expect(await line.ask({ case: "heartbeat", value: { status: AgentStatus.ERROR } })).toMatchObject({
      case: "heartbeat",
      value: { agentStatus: AgentStatus.ERROR },
    });
    line.say({ case: "heartbeat", value: { status: AgentStatus.ONLINE } });
    const heard = [await line.hear(), await line.hear()];
    expect(heard.map((each) => each?.message.case).toSorted()).toEqual(["assignment", "heartbeat"]);
    expect(heard.find((each) => each?.message.case === "assignment")?.message.value).toMatchObject({ id });
    line.cancel();
  });

  test("assigns a failed task again once its backoff is over", async () => {
    const kind = newKind();
    const { line } = await open();
    await line.ask(ready(2, kind));
    const { id } = await createTask(kind);
    const leaseEpoch = assigned(await line.hear()).lease?.epoch ?? 0n;
    const error = { message: "flaky" };
    expect(await line.ask({ case: "taskFail", value: { task: id, leaseEpoch, error } })).toMatchObject({
      case: "taskFail",
    });
    expect(assigned(await line.hear())).toMatchObject({ id, attempt: 2 });
    line.cancel();
  });

  test("takes back the room that is withdrawn", async () => {
    const kind = newKind();
    const { line } = await open();
    await line.ask(ready(3, kind));
    expect(await line.ask(ready(0, kind))).toMatchObject({ case: "done" });
    const { id } = await createTask(kind);
    await line.ask({ case: "heartbeat", value: { status: AgentStatus.ONLINE } });
    expect((await tasks().getTask({ task: id }, operator())).task?.attempt).toBe(0);
    line.cancel();
  });

  test("no slot is filled both by the stream and by a call", async () => {
    const kind = newKind();
    const { line, name, token } = await open();
    await line.ask({ case: "heartbeat", value: { status: AgentStatus.ONLINE } });
    await line.ask(ready(3, kind));
    const headers = { authorization: `Bearer ${token}` };
    // Of another kind too, by which the agent's explanation tells the call from the stream.
    const other = newKind();
    await createTask(newKind());
    const wish = { kinds: [kind, other], max: 3, wait: { seconds: 30n, nanos: 0 } };
    const call = createClient(AgentService, transport).claimTasks(wish, { headers });
    const fleet = createClient(FleetService, transport);
    await waitFor(async () => {
      const { explanation } = await fleet.explainAgent({ agent: name }, operator());
      return explanation?.summary.includes(`${kind}, ${other}`);
    });
    const first = await createTask(kind);
    expect((await call).tasks).toMatchObject([{ id: first.id }]);
    const [second, third, beyond] = [await createTask(kind), await createTask(kind), await createTask(kind)];
    expect(assigned(await line.hear())).toMatchObject({ id: second.id });
    expect(assigned(await line.hear())).toMatchObject({ id: third.id });
    expect(await line.ask({ case: "heartbeat", value: { status: AgentStatus.BUSY } })).toBeDefined();
    const { tasks: last } = await createClient(AgentService, transport).claimTasks(
      { kinds: [kind], max: 1 },
      { headers },
    );
    expect(last).toMatchObject([{ id: beyond.id, attempt: 1 }]);
    line.cancel();
  });

  test("shares tasks among agents without giving one to two", async () => {
    const kind = newKind();
    const lines = await Promise.all(Array.from({ length: 5 }, () => open()));
    for (const { line } of lines) await line.ask(ready(4, kind));
    const created = await Promise.all(Array.from({ length: 20 }, () => createTask(kind)));
    const heard: string[] = [];
    for (const { line } of lines) {
      for (let slot = 0; slot < 4; slot++) heard.push(assigned(await line.hear()).id);
    }
    expect(heard.toSorted()).toEqual(created.map(({ id }) => id).toSorted());
    for (const { line } of lines) line.cancel();
  });

  test("sends a command when it appears, and on every new stream until it is acknowledged", async () => {
    const kind = newKind();
    const { line, token } = await open();
    await line.ask(ready(1, kind));
    const { id } = await createTask(kind);
    assigned(await line.hear());
    await tasks().cancelTask({ task: id, reason: "not needed" }, operator());
    const command = await line.hear();
    expect(command?.message).toMatchObject({
      case: "command",
      value: { kind: "cancelTask", taskId: id, reason: "not needed" },
    });
    const again = new AgentLine(transport, token);
    await again.hello("boot");
    const repeated = await again.hear();
    expect(repeated?.message).toEqual(command?.message);
    const sequences = repeated?.message.case === "command" ? [repeated.message.value.sequence] : [];
    const acknowledged = await again.ask({ case: "commandAcknowledgement", value: { sequences } });
    expect(acknowledged.case).toBe("done");
    const third = new AgentLine(transport, token);
    await third.hello("boot");
    const beat = await third.ask({ case: "heartbeat", value: { status: AgentStatus.ONLINE } });
    expect(beat).toMatchObject({ case: "heartbeat", value: { commands: [] } });
    third.cancel();
  });

  test("takes a heartbeat's acknowledgement of a command too", async () => {
    const kind = newKind();
    const { line, token } = await open();
    await line.ask(ready(1, kind));
    const { id } = await createTask(kind);
    assigned(await line.hear());
    await tasks().cancelTask({ task: id }, operator());
    const command = await line.hear();
    const sequence = command?.message.case === "command" ? command.message.value.sequence : 0n;
    const client = createClient(AgentService, transport);
    const headers = { authorization: `Bearer ${token}` };
    await client.heartbeat({ status: AgentStatus.ONLINE, acknowledgedCommands: [sequence] }, { headers });
    const again = new AgentLine(transport, token);
    await again.hello("boot");
    const beat = await again.ask({ case: "heartbeat", value: { status: AgentStatus.ONLINE } });
    expect(beat).toMatchObject({ case: "heartbeat", value: { commands: [] } });
    again.cancel();
  });

  test("a goodbye returns what the agent holds and ends the stream well", async () => {
    const kind = newKind();
    const { line, name } = await open();
    await line.ask({ case: "heartbeat", value: { status: AgentStatus.ONLINE } });
    await line.ask(ready(2, kind));
    const { id } = await createTask(kind);
    assigned(await line.hear());
    expect(await line.ask({ case: "goodbye", value: {} })).toMatchObject({ case: "done" });
    expect(await line.end()).toBeUndefined();
    const { task } = await tasks().getTask({ task: id }, operator());
    expect(task).toMatchObject({ state: TaskState.PENDING, losses: 0, retries: 0 });
    const { agent } = await createClient(FleetService, transport).getAgent({ agent: name }, operator());
    expect(agent?.liveness).toBe(Liveness.OFFLINE);
  });

  test("learns within seconds of commands and tasks that another server made", async () => {
    const kind = newKind();
    const { line, name } = await open();
    await line.ask(ready(2, kind));
    const { id } = await createTask(kind);
    const task = assigned(await line.hear());
    // As a replica writes them: this server is told of nothing.
    const uuid = id.replace("task_", "");
    await server.database`
      UPDATE agent_states SET command_sequence = 1 FROM agents WHERE agents.id = agent_id AND name = ${name}`;
    await server.database`
      INSERT INTO agent_commands (project_id, agent_id, sequence, kind, task_id)
      SELECT project_id, id, 1, 'cancelTask', ${uuid}::uuid FROM agents WHERE name = ${name}`;
    expect((await line.hear())?.message).toMatchObject({
      case: "command",
      value: { sequence: 1n, taskId: id },
    });
    await server.database`
      UPDATE tasks SET state = 'pending', agent_id = NULL, lease_expires_at = NULL WHERE id = ${uuid}`;
    expect(assigned(await line.hear())).toMatchObject({
      id,
      lease: { epoch: (task.lease?.epoch ?? 0n) + 1n },
    });
    line.cancel();
  });
});

function assigned(heard: SessionResponse | undefined): Task {
  if (heard?.message.case === "assignment") return heard.message.value;
  throw new Error(`expected an assignment, heard ${heard?.message.case}`);
}
