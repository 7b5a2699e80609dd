import { Code, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { EventService } from "../../gen/drover/v1/event_service_pb.js";
import { TokenRole, TokenService } from "../../gen/drover/v1/token_service_pb.js";
import { startControlPlane, type TestControlPlane } from "../helpers/control-plane.ts";
import { createGrpcJsTransport } from "../helpers/grpc-js-transport.ts";
import { openTransport } from "../sessions/agent-line.ts";

let server: TestControlPlane;
let transport: Transport & { close(): void };

beforeAll(async () => {
  server = await startControlPlane();
  transport = createGrpcJsTransport(server.grpcAddress);
  await server.database`
    INSERT INTO audit_entries (project_id, id, time, actor, action, subject)
    SELECT p.id, gen_random_uuid(), clock_timestamp() - n * interval '1 ms', 'token:x', 'made.up', 'subject_' || n % 2
    FROM projects p, generate_series(1, 1201) n`;
});
afterAll(async () => {
  transport.close();
  await server.stop();
});

const operator = () => ({ headers: { authorization: `Bearer ${server.operatorToken}` } });

async function exported(
  request: object,
  way: Transport = transport,
): Promise<{ id: string; subject: string; seconds: number }[]> {
  const entries: { id: string; subject: string; seconds: number }[] = [];
  for await (const { entry } of createClient(EventService, way).exportAuditEntries(request, operator())) {
    if (entry === undefined) throw new Error("a message without an entry");
    const { id, subject, time } = entry;
    entries.push({ id, subject, seconds: Number(time?.seconds) + (time?.nanos ?? 0) / 1e9 });
  }
  return entries;
}

test("streams all that fit, over several pages, the oldest first, and goes on after an entry", async () => {
  const all = await exported({ action: ["made.up"] });
  expect(all).toHaveLength(1201);
  expect(new Set(all.map(({ id }) => id)).size).toBe(1201);
  const seconds = all.map((entry) => entry.seconds);
  expect(seconds).toEqual([...seconds].sort((a, b) => a - b));
  const rest = await exported({ action: ["made.up"], after: all[799]?.id });
  expect(rest).toEqual(all.slice(800));
  const half = await exported({ action: ["made.up"], subject: "subject_1" });
  expect(half).toEqual(all.filter(({ subject }) => subject === "subject_1"));
});

test("has what was committed before the call", async () => {
  const { token } = await createClient(TokenService, transport).createToken(
    { role: TokenRole.VIEWER },
    operator(),
  );
  expect((await exported({ subject: token?.id })).map(({ subject }) => subject)).toEqual([token?.id]);
});

test("comes by every door alike, and is refused alike", async () => {
  const h2c = openTransport(server, "gRPC by connect-node over h2c");
  const web = { baseUrl: server.httpUrl, httpVersion: "1.1" } as const;
  const native = await exported({ action: ["made.up"] });
  const after = native[1100]?.id;
  const ways: Record<string, Transport> = {
    h2c,
    "gRPC-Web": createGrpcWebTransport(web),
    Connect: createConnectTransport({ ...web, useBinaryFormat: true }),
    "Connect JSON": createConnectTransport({ ...web, useBinaryFormat: false }),
  };
  for (const [way, by] of Object.entries(ways)) {
    expect([way, await exported({ action: ["made.up"] }, by)]).toEqual([way, native]);
    expect([way, await exported({ action: ["made.up"], after }, by)]).toEqual([way, native.slice(1101)]);
    const pruned = { after: "audit_01900000-0000-7000-8000-000000000000" };
    await expect(exported(pruned, by), way).rejects.toMatchObject({ code: Code.OutOfRange });
    await expect(exported({ after: "audit_x" }, by), way).rejects.toMatchObject({
      code: Code.InvalidArgument,
    });
  }
  h2c.close();
});

test("comes by REST as lines of JSON, each a bare entry", async () => {
  const headers = { ...operator().headers, accept: "application/x-ndjson" };
  const response = await fetch(`${server.httpUrl}/api/v1/audit:export?action=made.up`, { headers });
  const lines = (await response.text()).trim().split("\n");
  expect(lines).toHaveLength(1201);
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({ action: "made.up", actor: "token:x" });
});

test.each([
  [{ after: "audit_x" }, Code.InvalidArgument],
  [{ after: "audit_01900000-0000-7000-8000-000000000000" }, Code.OutOfRange],
])("refuses %o", async (request, code) => {
  await expect(exported(request)).rejects.toMatchObject({ code });
});
