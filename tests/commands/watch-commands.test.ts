import { Code, createClient, type Transport } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { TaskService } from "../../gen/drover/v1/task_service_pb.js";
import { TokenService } from "../../gen/drover/v1/token_service_pb.js";
import { startControlPlane, type TestControlPlane } from "../helpers/control-plane.ts";
import { createGrpcJsTransport } from "../helpers/grpc-js-transport.ts";
import { AgentLine, enroll } from "../sessions/agent-line.ts";
import { endOf, WATCH_WAYS, type Watch, watchCommands } from "./command-watch.ts";

let server: TestControlPlane;
let transport: Transport & { close(): void };

beforeAll(async () => {
  server = await startControlPlane();
  transport = createGrpcJsTransport(server.grpcAddress);
});
afterAll(async () => {
  transport.close();
  await server.stop();
});

const operator = () => ({ headers: { authorization: `Bearer ${server.operatorToken}` } });
const send = async (agent: string, kind: string, reason = "") => {
  const { command } = await createClient(FleetService, transport).sendCommand(
    { agent, kind, reason },
    operator(),
  );
  return command?.sequence;
};
const beat = (token: string, more: object) =>
  createClient(AgentService, transport).heartbeat(
    { status: AgentStatus.ONLINE, ...more },
    { headers: { authorization: `Bearer ${token}` } },
  );

describe.each(WATCH_WAYS)("%s", (way) => {
  const open = (token: string, bootId?: string): Watch => {
    const watch = watchCommands(server, way, token, bootId);
    onTestFinished(() => watch.cancel());
    return watch;
  };

  test("carries what waits and what comes, each once, and again on another stream until it is acknowledged", async () => {
    const { name, token } = await enroll(server, transport);
    await send(name, "echo", "are you there?");
    const watch = open(token);
    const echo = { sequence: "1", kind: "echo", taskId: "", reason: "are you there?" };
    expect(await watch.next()).toEqual(echo);
    await send(name, "reportFullState");
    const report = { sequence: "2", kind: "reportFullState", taskId: "", reason: "" };
    expect(await watch.next()).toEqual(report);
    // Nothing was acknowledged: the heartbeat's answer and another stream bring both again.
    const { commands } = await beat(token, {});
    expect(commands.map(({ sequence, kind }) => [sequence, kind])).toEqual([
      [1n, "echo"],
      [2n, "reportFullState"],
    ]);
    const again = open(token);
    expect(await again.next()).toEqual(echo);
    expect(await again.next()).toEqual(report);
    expect((await beat(token, { acknowledgedCommands: [1n, 2n] })).commands).toEqual([]);
    const last = open(token);
    await send(name, "rotateToken");
    for (const each of [watch, again, last])
      expect(await each.next()).toMatchObject({ sequence: "3", kind: "rotateToken" });
  });

  test("brings the cancellation of a task at hand", async () => {
    const { token } = await enroll(server, transport);
    const tasks = createClient(TaskService, transport);
    const kind = way.replaceAll(/[^A-Za-z]/g, "-");
    const { task } = await tasks.createTask({ kind }, operator());
    const headers = { authorization: `Bearer ${token}` };
    await createClient(AgentService, transport).claimTasks({ kinds: [kind] }, { headers });
    const watch = open(token, "boot");
    await tasks.cancelTask({ task: task?.id ?? "", reason: "not needed" }, operator());
    const told = { kind: "cancelTask", taskId: task?.id, reason: "not needed" };
    expect(await watch.next()).toMatchObject(told);
  });

  test("ends when a newer run of the agent begins, unless it named none", async () => {
    const { name, token } = await enroll(server, transport);
    const [first, unnamed] = [open(token, "first"), open(token)];
    await send(name, "echo");
    expect(await first.next()).toMatchObject({ sequence: "1" });
    expect(await unnamed.next()).toMatchObject({ sequence: "1" });
    const second = open(token, "second");
    expect(await second.next()).toMatchObject({ sequence: "1" });
    expect(await endOf(first)).toBe(Code.Aborted);
    expect(await endOf(open(token, "first"))).toBe(Code.Aborted);
    await beat(token, { session: { bootId: "third", sequence: 1n } });
    expect(await endOf(second)).toBe(Code.Aborted);
    await send(name, "echo");
    expect(await unnamed.next()).toMatchObject({ sequence: "2" });
  });

  test("ends within a second of its token's revocation, and of its agent's removal", async () => {
    const revoked = await enroll(server, transport);
    const removed = await enroll(server, transport);
    const watches = [open(revoked.token), open(removed.token)] as const;
    await Promise.all([send(revoked.name, "echo"), send(removed.name, "echo")]);
    for (const watch of watches) expect(await watch.next()).toMatchObject({ kind: "echo" });
    await createClient(TokenService, transport).revokeToken({ token: revoked.tokenId }, operator());
    const revokedAt = performance.now();
    expect(await endOf(watches[0])).toBe(Code.Unauthenticated);
    expect(performance.now() - revokedAt).toBeLessThan(1000);
    await createClient(FleetService, transport).removeAgent({ agent: removed.name }, operator());
    const removedAt = performance.now();
    expect(await endOf(watches[1])).toBe(Code.Unauthenticated);
    expect(performance.now() - removedAt).toBeLessThan(1000);
  });

  test("is for agents alone, and hears nothing of another agent's", async () => {
    const [one, other] = [await enroll(server, transport), await enroll(server, transport)];
    expect(await endOf(open(server.operatorToken))).toBe(Code.PermissionDenied);
    const watch = open(one.token);
    await send(other.name, "echo");
    await send(one.name, "shutDown");
    expect(await watch.next()).toMatchObject({ sequence: "1", kind: "shutDown" });
  });

  test("ends when the server stops", async () => {
    const stopping = await startControlPlane();
    const own = createGrpcJsTransport(stopping.grpcAddress);
    onTestFinished(() => own.close());
    const { name, token } = await enroll(stopping, own);
    const watch = watchCommands(stopping, way, token);
    const headers = { authorization: `Bearer ${stopping.operatorToken}` };
    await createClient(FleetService, own).sendCommand({ agent: name, kind: "echo" }, { headers });
    expect(await watch.next()).toMatchObject({ kind: "echo" });
    const stopped = stopping.stop();
    expect(await endOf(watch)).toBe(Code.Unavailable);
    await stopped;
  });
});

test("a ninth stream of one agent ends the oldest", async () => {
  const { name, token } = await enroll(server, transport);
  await send(name, "echo");
  const watches: Watch[] = [];
  for (let count = 0; count < 9; count++) {
    const watch = watchCommands(server, WATCH_WAYS[0], token);
    onTestFinished(() => watch.cancel());
    expect(await watch.next()).toMatchObject({ sequence: "1" });
    watches.push(watch);
  }
  const [oldest, ...others] = watches;
  expect(oldest && (await endOf(oldest))).toBe(Code.Aborted);
  await send(name, "echo");
  for (const watch of others) expect(await watch.next()).toMatchObject({ sequence: "2" });
});

test("the stream in both directions carries the same commands, and acknowledges them", async () => {
  const { name, token } = await enroll(server, transport);
  const line = new AgentLine(transport, token);
  await line.hello("boot");
  await send(name, "shutDown", "maintenance");
  expect((await line.hear())?.message).toMatchObject({
    case: "command",
    value: { sequence: 1n, kind: "shutDown", reason: "maintenance" },
  });
  await line.ask({ case: "commandAcknowledgement", value: { sequences: [1n] } });
  expect((await beat(token, {})).commands).toEqual([]);
  line.cancel();
});
