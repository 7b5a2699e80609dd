import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterEach, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { TokenRole, TokenService } from "../../gen/drover/v1/token_service_pb.js";
import {
  Health,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "../../gen/grpc/health/v1/health_pb.js";
import { type ControlPlaneProcess, spawnControlPlane } from "../helpers/control-plane.ts";
import { clientOfTransport, type DoorClient, messageOf } from "../helpers/door-client.ts";
import { createGrpcJsTransport } from "../helpers/grpc-js-transport.ts";
import { createRestClient, sendHttp } from "../helpers/rest-client.ts";

const { enroll, heartbeat } = AgentService.method;
const { getAgent, listErrors } = FleetService.method;

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function start(on?: ControlPlaneProcess["home"]): Promise<ControlPlaneProcess> {
  const server = await spawnControlPlane(on === undefined ? {} : { on });
  closing.push(server.stop);
  return server;
}

function clientsOf({
  httpUrl,
  grpcAddress,
}: ControlPlaneProcess): Record<"native" | "h2c" | "rest", DoorClient> {
  const native = createGrpcJsTransport(grpcAddress);
  const clients = {
    native: clientOfTransport(native, () => native.close()),
    h2c: clientOfTransport(createGrpcTransport({ baseUrl: httpUrl }), () => {}),
    rest: createRestClient(httpUrl),
  };
  closing.push(async () => {
    for (const client of Object.values(clients)) await client.close();
  });
  return clients;
}

test("what any door has acknowledged is there after the server was killed and started again", async () => {
  const first = await start();
  const operator = { token: first.operatorToken };
  const before = clientsOf(first);
  const wish = { role: TokenRole.ENROLLMENT, maxUses: 3 };
  const { secret } = messageOf(await before.rest.call(TokenService.method.createToken, wish, operator));
  const error = { severity: Severity.FATAL, message: "gone" };
  const tokens = new Map<string, string>();
  for (const [name, door] of Object.entries(before)) {
    const enrolled = messageOf(await door.call(enroll, { name }, { token: secret }));
    tokens.set(name, enrolled.secret);
    const beat = { status: AgentStatus.BUSY, error, session: { bootId: "boot", sequence: 1n } };
    expect(messageOf(await door.call(heartbeat, beat, { token: enrolled.secret })).acknowledged).toBe(true);
  }
  first.kill("SIGKILL");
  expect(await first.exited).toBe("SIGKILL");

  const second = await start(first.home);
  expect(second.operatorToken).toBe(first.operatorToken);
  const after = clientsOf(second);
  for (const [name, door] of Object.entries(after)) {
    const { agent } = messageOf(await door.call(getAgent, { agent: name }, operator));
    expect([agent?.status, agent?.session?.sequence]).toEqual([AgentStatus.ERROR, 1n]);
    expect(messageOf(await door.call(listErrors, { agent: name }, operator)).errors).toHaveLength(1);
    // The answer that was perhaps lost can be asked for again, through a door of its own.
    const beat = { status: AgentStatus.BUSY, error, session: { bootId: "boot", sequence: 1n } };
    const token = tokens.get(name) ?? "";
    const again = messageOf(await after.rest.call(heartbeat, beat, { token }));
    expect([again.duplicate, again.agentStatus]).toEqual([true, AgentStatus.ERROR]);
    expect(messageOf(await door.call(listErrors, { agent: name }, operator)).errors).toHaveLength(1);
  }
});

test("a server says that it serves, on both ports, and ends by itself when it is asked to", async () => {
  const server = await start();
  const { native, h2c } = clientsOf(server);
  for (const door of [native, h2c]) {
    for (const service of ["", AgentService.typeName, FleetService.typeName]) {
      const { status } = messageOf(await door.call(Health.method.check, { service }));
      expect(status).toBe(ServingStatus.SERVING);
    }
  }
  for (const target of ["/healthz", "/readyz"]) {
    expect((await sendHttp(server.httpUrl, { method: "GET", target })).status).toBe(200);
  }
  server.kill("SIGTERM");
  expect(await server.exited).toBe(0);
  expect(server.output()).not.toContain('"level":"error"');
});
