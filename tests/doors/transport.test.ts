import { brotliCompressSync, gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { messageOf, refusalOf } from "../helpers/door-client.ts";
import { DOORS, useDoors } from "../helpers/door-suite.ts";
import { newAgent, type TestAgent } from "../helpers/fleet.ts";
import { RAW_WAYS, type RawCall, type RawWay, rawCall } from "../helpers/raw-rpc.ts";
import { failureOfAnswer, type HttpRequest, sendHttp } from "../helpers/rest-client.ts";
import { waitFor } from "../helpers/wait-for.ts";

const MIB = 1024 * 1024;
const { heartbeat } = AgentService.method;
const path = "/drover.v1.AgentService/Heartbeat";
const known = toBinary(heartbeat.input, create(heartbeat.input, { status: AgentStatus.BUSY }));

/** A heartbeat of exactly so many bytes: an unknown field fills it up in protobuf, white space in JSON. */
const ofSize = (size: number) => ({
  bytes: bytesOfSize(size),
  json: '{"status":"AGENT_STATUS_BUSY"}'.padEnd(size),
});

function bytesOfSize(size: number): Uint8Array {
  // Field 1000 as bytes: two bytes of tag and, for such lengths, three of length.
  const head = [0xc2, 0x3e];
  const rest = size - known.length - head.length - 3;
  const length = [(rest & 0x7f) | 0x80, ((rest >> 7) & 0x7f) | 0x80, rest >> 14];
  return Buffer.concat([known, Buffer.from([...head, ...length]), Buffer.alloc(rest)]);
}

const doors = useDoors();
let agent: TestAgent;
beforeAll(async () => {
  agent = await newAgent(doors);
});
afterAll(() => {
  // Nothing of all this is a fault of the server's, so nothing of it is in its log as one.
  const lines = doors.server
    .output()
    .trimEnd()
    .split("\n")
    .filter((line) => line !== "");
  const faults = lines
    .map((line): { level: string; err?: { type: string } } => JSON.parse(line))
    // A machine that stands still for seconds loses connections to the database, which is nothing of this either.
    .filter(({ level, err }) => level !== "info" && err?.type !== "DatabaseUnavailable");
  expect(faults).toEqual([]);
});

/** Calls while the agent's row is locked, for a moment that ends by itself. */
async function whileLocked<T>({ id }: TestAgent, call: () => Promise<T>): Promise<T> {
  const uuid = id.replace("agent_", "");
  const held = doors.server.database`
    WITH locked AS MATERIALIZED (SELECT 1 FROM agent_states WHERE agent_id = ${uuid}::uuid FOR UPDATE)
    SELECT pg_sleep(0.5) FROM locked`;
  await waitFor(async () => {
    const rows = await doors.server.database`
      SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'`;
    return rows.length > 0;
  });
  const answer = await call();
  await held;
  return answer;
}

describe.each(DOORS)("%s", (name) => {
  test("a request of a mebibyte is read, and one of a byte more is RESOURCE_EXHAUSTED", async () => {
    const door = doors.door(name);
    const { token } = agent;
    const atCap = messageOf(await door.callRaw(heartbeat, ofSize(MIB), { token }));
    expect(atCap.agentStatus).toBe(AgentStatus.BUSY);
    for (const size of [MIB + 1, 3 * MIB]) {
      const refusal = refusalOf(await door.callRaw(heartbeat, ofSize(size), { token }));
      expect(refusal.code).toBe(Code.ResourceExhausted);
      if (name === "REST") expect(refusal.httpStatus).toBe(413);
    }
    messageOf(await door.call(heartbeat, { status: AgentStatus.ONLINE }, { token }));
  });

  test("a stranger's request is not read to its end", async () => {
    const refusal = refusalOf(
      await doors.door(name).callRaw(heartbeat, ofSize(MIB + 1), { token: "nobody" }),
    );
    expect([Code.ResourceExhausted, Code.Unauthenticated]).toContain(refusal.code);
  });
});

const isFramed = (way: RawWay) => !way.startsWith("Connect");

describe.each(RAW_WAYS)("on the wire, %s", (way) => {
  const isJson = way.startsWith("Connect JSON");
  const message = isJson ? Buffer.from('{"status":"AGENT_STATUS_BUSY"}') : known;
  const send = async (call: Partial<RawCall>) => {
    const target = { webUrl: doors.server.httpUrl, grpcTarget: doors.server.grpcAddress };
    const headers = ["authorization", `Bearer ${agent.token}`];
    return await rawCall(way, target, { path, headers, message, ...call });
  };

  test("a bomb is RESOURCE_EXHAUSTED, counted as what it unpacks to", async () => {
    const bomb = isJson ? Buffer.from(ofSize(40 * MIB).json) : bytesOfSize(2 * MIB - 64);
    const encoding = way === "native gRPC" ? "gzip" : "br";
    const packed = encoding === "gzip" ? gzipSync(bomb) : brotliCompressSync(bomb);
    expect(packed.length).toBeLessThan(100_000);
    expect((await send({ message: packed, encoding })).code).toBe(Code.ResourceExhausted);
    expect((await send({ message: gzipSync(bomb), encoding: "gzip" })).code).toBe(Code.ResourceExhausted);
    expect((await send({ message: gzipSync(message), encoding: "gzip" })).code).toBe(0);
  });

  test("an encoding that nobody knows is UNIMPLEMENTED", async () => {
    expect((await send({ encoding: "zstd" })).code).toBe(Code.Unimplemented);
  });

  test("a timeout that is none is INVALID_ARGUMENT", async () => {
    for (const timeout of ["soon", "-5", "1.5", isFramed(way) ? "10" : "10s"]) {
      expect([timeout, (await send({ timeout })).code]).toEqual([timeout, Code.InvalidArgument]);
    }
  });

  test("another content type is 415", async () => {
    for (const contentType of ["text/plain", "application/x-www-form-urlencoded", "application/msgpack"]) {
      expect([contentType, (await send({ contentType })).httpStatus]).toEqual([contentType, 415]);
    }
  });

  test("a method or a service that does not exist is UNIMPLEMENTED in gRPC, 404 in Connect", async () => {
    for (const missing of ["/drover.v1.AgentService/Nothing", "/drover.v1.Nothing/Heartbeat", "/nothing"]) {
      const answer = await send({ path: missing });
      if (isFramed(way)) expect([missing, answer.code]).toEqual([missing, Code.Unimplemented]);
      else expect([missing, answer.httpStatus]).toEqual([missing, 404]);
    }
  });

  test("another HTTP method is 405 on the web port", async () => {
    for (const method of ["GET", "PUT", "DELETE", "PATCH"]) {
      const answer = await send({ method });
      if (way === "native gRPC") {
        // grpc-js does not look at the HTTP method: what frames a message is a call, and the empty GET lacks one.
        expect([method, answer.code]).toEqual([method, method === "GET" ? Code.Unimplemented : 0]);
      } else {
        expect([method, answer.httpStatus, answer.headers.allow]).toEqual([method, 405, "POST"]);
      }
    }
  });
});

test("what grpc-js alone decides on the native port", async () => {
  const target = { webUrl: doors.server.httpUrl, grpcTarget: doors.server.grpcAddress };
  const call = { path, headers: ["authorization", `Bearer ${agent.token}`], message: known };
  // More than 2^31 ms wraps round in grpc-js, here to a time that has passed, as a call sees that has to wait.
  const endless = { ...call, timeout: "600H" };
  const codes = await whileLocked(agent, () =>
    Promise.all([rawCall("native gRPC", target, endless), rawCall("gRPC over h2c", target, endless)]),
  );
  expect(codes.map(({ code }) => code)).toEqual([Code.DeadlineExceeded, 0]);
  // An encoding that nobody knows does not matter while nothing is encoded.
  const headers = [...call.headers, "grpc-encoding", "zstd"];
  expect((await rawCall("native gRPC", target, { ...call, headers })).code).toBe(0);
  expect((await rawCall("gRPC over h2c", target, { ...call, headers })).code).toBe(Code.Unimplemented);
});

test("a page of an allowed origin calls REST too, and reads what went wrong", async () => {
  const ask = (token: string) =>
    doors.page.page.evaluate(
      async ([url, authorization]) => {
        const response = await fetch(`${url}/api/v1/agent/heartbeat`, {
          method: "POST",
          headers: { "content-type": "application/json", authorization },
          body: '{"status":"online"}',
        });
        const challenge = response.headers.get("www-authenticate");
        return { status: response.status, challenge, body: await response.json() };
      },
      [doors.server.httpUrl, `Bearer ${token}`] as const,
    );
  expect(await ask(agent.token)).toMatchObject({
    status: 200,
    body: { acknowledged: true, agentStatus: "online" },
  });
  expect(await ask("wrong")).toMatchObject({
    status: 401,
    challenge: 'Bearer realm="drover"',
    body: { error: { code: 401, status: "UNAUTHENTICATED" } },
  });
});

describe("on the wire, REST", () => {
  const json = { "content-type": "application/json" };
  const send = (request: Partial<HttpRequest>, token = agent.token) =>
    sendHttp(doors.server.httpUrl, {
      method: "POST",
      target: "/api/v1/agent/heartbeat",
      body: '{"status":"busy"}',
      ...request,
      headers: { authorization: `Bearer ${token}`, ...json, ...request.headers },
    });
  const get = (target: string, method = "GET") => {
    const headers = { authorization: `Bearer ${doors.server.operatorToken}` };
    return sendHttp(doors.server.httpUrl, { method, target, headers });
  };

  test("a bomb is 413, counted as what it unpacks to", async () => {
    const bomb = Buffer.from(ofSize(40 * MIB).json);
    for (const [encoding, body] of [
      ["gzip", gzipSync(bomb)],
      ["br", brotliCompressSync(bomb)],
    ] as const) {
      const answer = await send({ headers: { "content-encoding": encoding }, body });
      expect([encoding, answer.status]).toEqual([encoding, 413]);
      expect(failureOfAnswer(answer).code).toBe(Code.ResourceExhausted);
    }
    const small = await send({
      headers: { "content-encoding": "gzip" },
      body: gzipSync('{"status":"busy"}'),
    });
    expect(small.status).toBe(200);
    const broken = await send({ headers: { "content-encoding": "gzip" }, body: "no gzip" });
    expect(failureOfAnswer(broken)).toMatchObject({ code: Code.InvalidArgument, httpStatus: 400 });
  });

  test("an encoding that nobody knows is UNIMPLEMENTED", async () => {
    const answer = await send({ headers: { "content-encoding": "zstd" } });
    expect(failureOfAnswer(answer)).toMatchObject({ code: Code.Unimplemented, httpStatus: 501 });
  });

  test("a timeout that is none is INVALID_ARGUMENT, in any of its three headers", async () => {
    for (const [name, values] of [
      ["grpc-timeout", ["soon", "10", "-1S", "1.5S", "999999999S"]],
      ["connect-timeout-ms", ["soon", "10s", "-1", "1.5", "12345678901"]],
      ["x-server-timeout", ["soon", "-1"]],
    ] as const) {
      for (const value of values) {
        const answer = await send({ headers: { [name]: value } });
        expect([name, value, answer.status]).toEqual([name, value, 400]);
        expect(failureOfAnswer(answer).code).toBe(Code.InvalidArgument);
      }
    }
    for (const headers of [{ "grpc-timeout": "99999999H" }, { "connect-timeout-ms": "9999999999" }]) {
      expect((await send({ headers })).status).toBe(200);
    }
  });

  test("another content type is 415", async () => {
    for (const type of [
      "text/plain",
      "application/x-www-form-urlencoded",
      "multipart/form-data",
      "nonsense",
    ]) {
      const answer = await send({ headers: { "content-type": type } });
      expect([type, answer.status]).toEqual([type, 415]);
      expect(failureOfAnswer(answer).code).toBe(Code.InvalidArgument);
    }
    const charset = await send({ headers: { "content-type": "application/json; charset=utf-8" } });
    expect(charset.status).toBe(200);
  });

  test("a path that does not exist is 404, one with another method 405 with Allow", async () => {
    const missing = [
      "/nothing",
      "/api",
      "/api/v1",
      "/api/v1/nothing",
      "/api/v1/agents/",
      "/api/v2/agents",
      "//api/v1/agents",
    ];
    for (const target of [...missing, "/api/v1/agents/a/b", "/API/v1/agents", "/api/v1/agents/x:nothing/y"]) {
      const answer = await get(target);
      expect([target, answer.status]).toEqual([target, 404]);
      expect(failureOfAnswer(answer).code).toBe(Code.NotFound);
    }
    for (const [method, target, allow] of [
      ["PUT", "/api/v1/agents", "GET, HEAD, OPTIONS"],
      ["POST", "/api/v1/agents/a", "GET, DELETE, HEAD, OPTIONS"],
      ["GET", "/api/v1/agent/heartbeat", "POST, OPTIONS"],
      ["PATCH", "/api/v1/tokens", "GET, POST, HEAD, OPTIONS"],
      ["DELETE", "/api/v1/projects", "GET, POST, HEAD, OPTIONS"],
      ["GET", "/api/v1/agents/a:reset", "POST, OPTIONS"],
    ] as const) {
      const answer = await get(target, method);
      const allowed = (answer.headers.get("allow") ?? "").split(", ").sort();
      expect([method, target, answer.status, allowed]).toEqual([
        method,
        target,
        405,
        allow.split(", ").sort(),
      ]);
      expect(failureOfAnswer(answer).code).toBe(Code.Unimplemented);
    }
  });

  test("what a path must not hold is 400, and reaches no other path", async () => {
    const names = [
      "a%2Fb",
      "..",
      "%2e%2e",
      "%2E%2E%2Fagents",
      "a%00",
      "%00",
      "a%0d%0a",
      "%c3%28",
      "a%",
      "%zz",
      "a%20b",
    ];
    const more = ["a%252Fb", "a;b", "a,b", "%F0%9F%98%80", "a:b:c", "-a", "x".repeat(129), "%ff", "%c0%af"];
    for (const name of [...names, ...more]) {
      const answer = await get(`/api/v1/agents/${name}`);
      expect([name, answer.status]).toEqual([name, 400]);
      expect(failureOfAnswer(answer).code).toBe(Code.InvalidArgument);
    }
    for (const token of ["1", "..", "token_", "token_%00", "agent_01900000-0000-7000-8000-000000000000"]) {
      expect([token, (await get(`/api/v1/tokens/${token}`)).status]).toEqual([token, 400]);
    }
    const dots = await get("/api/v1/tokens/../agents");
    expect([dots.status, dots.headers.get("content-type")]).toEqual([404, "application/json"]);
  });

  test("a body where none belongs is 400", async () => {
    const headers = { authorization: `Bearer ${doors.server.operatorToken}`, ...json };
    const target = `/api/v1/agents/${agent.name}`;
    for (const method of ["GET", "DELETE"]) {
      const answer = await sendHttp(doors.server.httpUrl, { method, target, headers, body: '{"x":1}' });
      expect([method, answer.status]).toEqual([method, 400]);
    }
    expect((await get(target)).status).toBe(200);
  });

  test("what the path names cannot be overridden by the body or the query", async () => {
    const other = await newAgent(doors);
    const headers = { authorization: `Bearer ${doors.server.operatorToken}` };
    const target = `/api/v1/agents/${agent.name}:reset`;
    const answer = await send({ target, headers, body: `{"agent":"${other.name}"}` });
    expect([answer.status, JSON.parse(answer.text)]).toEqual([
      200,
      expect.objectContaining({ name: agent.name }),
    ]);
    expect((await send({ target: `${target}?agent=${other.name}`, headers, body: "{}" })).status).toBe(400);
    const shown = await get(`/api/v1/agents/${agent.name}?agent=${other.name}`);
    expect(JSON.parse(shown.text)).toMatchObject({ name: agent.name });
  });
});
