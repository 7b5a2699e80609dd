import { Code, createClient, type Transport } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { EventService } from "../../gen/drover/v1/event_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { type ControlPlaneProcess, spawnControlPlane } from "../helpers/control-plane.ts";
import { createGrpcJsTransport } from "../helpers/grpc-js-transport.ts";
import { AgentLine, enroll } from "../sessions/agent-line.ts";
import { WATCH_WAYS, watchCommands } from "./command-watch.ts";

let server: ControlPlaneProcess;
let transport: Transport & { close(): void };

beforeAll(async () => {
  server = await spawnControlPlane();
  transport = createGrpcJsTransport(server.grpcAddress);
});
afterAll(async () => {
  transport.close();
  await server.stop();
});

const operator = () => ({ headers: { authorization: `Bearer ${server.operatorToken}` } });
const fleet = () => createClient(FleetService, transport);

test("a repeat under its request_id gives the same command and no second one", async () => {
  const { name } = await enroll(server, transport);
  const request = { agent: name, kind: "echo", reason: "ping", requestId: "r-1" };
  const first = await fleet().sendCommand(request, operator());
  expect(first.command).toMatchObject({ sequence: 1n, kind: "echo", reason: "ping", taskId: "" });
  expect(await fleet().sendCommand(request, operator())).toEqual(first);
  const second = await fleet().sendCommand({ agent: name, kind: "echo" }, operator());
  expect(second.command?.sequence).toBe(2n);
});

test("is audited: who, what and why", async () => {
  const { name } = await enroll(server, transport);
  const request = { agent: name, kind: "shutDown", reason: "maintenance", requestId: "r-2" };
  await fleet().sendCommand(request, operator());
  const { entries } = await createClient(EventService, transport).listAuditEntries(
    { subject: name, action: ["agent.command_sent"] },
    operator(),
  );
  expect(entries).toHaveLength(1);
  expect(entries[0]).toMatchObject({
    actor: expect.stringMatching(/^token:token_/),
    to: "shutDown",
    reason: "maintenance",
    requestId: "r-2",
    field: "",
    version: 0n,
  });
});

test.each([
  [{ kind: "cancelTask" }, Code.InvalidArgument],
  [{ kind: "" }, Code.InvalidArgument],
  [{ kind: "echo", reason: "x".repeat(1025) }, Code.InvalidArgument],
  [{ kind: "echo", agent: "nobody" }, Code.NotFound],
])("refuses %o", async (wish, code) => {
  const { name } = await enroll(server, transport);
  await expect(fleet().sendCommand({ agent: name, ...wish }, operator())).rejects.toMatchObject({ code });
});

test("takes any number at once without a gap or a twin", async () => {
  const { name } = await enroll(server, transport);
  const sent = await Promise.all(
    Array.from({ length: 20 }, () => fleet().sendCommand({ agent: name, kind: "echo" }, operator())),
  );
  const sequences = sent.map(({ command }) => Number(command?.sequence)).sort((a, b) => a - b);
  expect(sequences).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
});

test("reaches streams that are open at another server", async () => {
  const other = await spawnControlPlane({ on: server.home });
  const there = createGrpcJsTransport(other.grpcAddress);
  onTestFinished(async () => {
    there.close();
    await other.stop();
  });
  const { name, token } = await enroll(server, transport);
  const watch = watchCommands(other, WATCH_WAYS[4], token, "boot");
  onTestFinished(() => watch.cancel());
  const line = new AgentLine(there, token);
  await line.hello("boot");
  await fleet().sendCommand({ agent: name, kind: "echo" }, operator());
  expect(await watch.next()).toMatchObject({ sequence: "1", kind: "echo" });
  expect((await line.hear())?.message).toMatchObject({ case: "command", value: { sequence: 1n } });
  // A newer run that begins at one server ends the stream of the older at the other.
  const newer = new AgentLine(transport, token);
  await newer.hello("newer");
  await expect(watch.next()).rejects.toMatchObject({ code: Code.Aborted });
  newer.cancel();
});
