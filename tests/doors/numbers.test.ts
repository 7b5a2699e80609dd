import { create, type JsonObject, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import type { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { EventService } from "../../gen/drover/v1/event_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { TokenRole, TokenService } from "../../gen/drover/v1/token_service_pb.js";
import { messageOf, refusalOf } from "../helpers/door-client.ts";
import { DOORS, useDoors } from "../helpers/door-suite.ts";
import { newAgent, type TestAgent } from "../helpers/fleet.ts";
import { failureOfAnswer, sendHttp } from "../helpers/rest-client.ts";

const { heartbeat, reportError } = AgentService.method;
const { listAgents, listErrors, listErrorGroups } = FleetService.method;
const { listAuditEntries } = EventService.method;
const { createToken, listTokens } = TokenService.method;

const doors = useDoors();
let agent: TestAgent;
beforeAll(async () => {
  agent = await newAgent(doors);
});

type Beat = Omit<MessageInitShape<typeof heartbeat.input>, "$typeName">;

describe.each(DOORS)("%s", (name) => {
  const beat = (request: Beat) => doors.door(name).call(heartbeat, request, { token: agent.token });
  const fieldsOf = async (call: ReturnType<typeof beat>) => {
    const refusal = refusalOf(await call);
    expect(refusal.code).toBe(Code.InvalidArgument);
    return refusal.violations.map(({ field }) => field);
  };
  const online = AgentStatus.ONLINE;

  test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0.001, 1.001, -1e308])(
    "progress cannot be %s",
    async (progress) => {
      const fields = await fieldsOf(beat({ status: online, currentTask: { taskId: "t", progress } }));
      expect(new Set(fields)).toEqual(new Set(["current_task.progress"]));
    },
  );

  test.each([0, -0, 1, 0.5, Number.MIN_VALUE])("progress can be %s", async (progress) => {
    messageOf(await beat({ status: online, currentTask: { taskId: "t", progress } }));
  });

  test("a gauge is any finite number", async () => {
    for (const gauge of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      expect(await fieldsOf(beat({ status: online, gauges: { rate: gauge } }))).toEqual(['gauges["rate"]']);
    }
    const gauges = { zero: 0, huge: 1.7976931348623157e308, tiny: 5e-324, third: 1 / 3, big: 2 ** 53 };
    messageOf(await beat({ status: online, gauges }));
    const operator = { token: doors.server.operatorToken };
    const { agents } = messageOf(
      await doors.door(name).call(listAgents, { namePrefix: agent.name }, operator),
    );
    expect(agents[0]?.gauges).toEqual(gauges);
  });

  test("whole numbers of 64 bits go through to their ends, and stop at zero", async () => {
    const own = await newAgent(doors);
    const door = doors.door(name);
    const largest = 2n ** 63n - 1n;
    const session = { bootId: "boot", sequence: largest };
    messageOf(await door.call(heartbeat, { status: online, session }, { token: own.token }));
    const operator = { token: doors.server.operatorToken };
    const { agents } = messageOf(await door.call(listAgents, { namePrefix: own.name }, operator));
    expect(agents[0]?.session?.sequence).toBe(largest);
    const negative = { status: online, session: { bootId: "boot", sequence: -1n } };
    expect(await fieldsOf(beat(negative))).toEqual(["session.sequence"]);
    const lease = { status: online, currentTask: { taskId: "t", leaseEpoch: -(2n ** 63n) } };
    expect(await fieldsOf(beat(lease))).toEqual(["current_task.lease_epoch"]);
    messageOf(await beat({ status: online, currentTask: { taskId: "t", leaseEpoch: largest } }));
  });

  test("an enum is one of its values, and not the one that says nothing", async () => {
    const door = doors.door(name);
    const operator = { token: doors.server.operatorToken };
    const { token } = agent;
    // Numbers that the contract has no name for are what an older or newer client may send.
    const status = (number: number): AgentStatus => number;
    for (const number of [0, 1, 6, 99, -1, 2 ** 31 - 1]) {
      expect(await fieldsOf(beat({ status: status(number) }))).toEqual(["status"]);
    }
    const severity = (number: number): Severity => number;
    for (const number of [0, 7, -1]) {
      const call = door.call(reportError, { severity: severity(number), message: "m" }, { token });
      expect(await fieldsOf(call as ReturnType<typeof beat>)).toEqual(["severity"]);
    }
    for (const number of [0, 1, 3, 5, 7]) {
      const error = { severity: severity(number), message: "m" };
      expect(await fieldsOf(beat({ status: online, error }))).toEqual(["error.severity"]);
    }
    const role = (number: number): TokenRole => number;
    for (const number of [0, 1, 6]) {
      const call = door.call(createToken, { role: role(number) }, operator);
      expect(await fieldsOf(call as ReturnType<typeof beat>)).toEqual(["role"]);
    }
    const filter = door.call(listAgents, { status: [online, status(0), status(77)] }, operator);
    expect(await fieldsOf(filter as ReturnType<typeof beat>)).toEqual(["status[1]", "status[2]"]);
  });

  test("maxUses is for enrollment tokens, and no negative number", async () => {
    const operator = { token: doors.server.operatorToken };
    for (const wish of [
      { role: TokenRole.ENROLLMENT, maxUses: -1 },
      { role: TokenRole.VIEWER, maxUses: 1 },
    ]) {
      const call = doors.door(name).call(createToken, wish, operator);
      expect(await fieldsOf(call as ReturnType<typeof beat>)).toEqual(["max_uses"]);
    }
  });

  test("a page token of another list, another filter or nobody is refused", async () => {
    const operator = { token: doors.server.operatorToken };
    await newAgent(doors);
    const door = doors.door(name);
    const { nextPageToken } = messageOf(await door.call(listAgents, { pageSize: 1 }, operator));
    expect(nextPageToken).not.toBe("");
    const forged = Buffer.from(JSON.stringify(["x".repeat(12), "'; --", "not-a-uuid"])).toString("base64url");
    const calls = [
      door.call(listAgents, { pageSize: 1, pageToken: nextPageToken, orderBy: "name desc" }, operator),
      door.call(listTokens, { pageToken: nextPageToken }, operator),
      door.call(listAgents, { pageToken: "!!!" }, operator),
      door.call(listErrors, { pageToken: forged }, operator),
    ];
    for (const call of calls) expect(await fieldsOf(call as ReturnType<typeof beat>)).toEqual(["page_token"]);
  });

  test("an order that is not on the list is refused", async () => {
    const operator = { token: doors.server.operatorToken };
    const orderBy = "name; DROP TABLE agents";
    for (const method of [listAgents, listErrors, listAuditEntries, listTokens]) {
      // Each of these takes an order_by, and nothing else here.
      const call = doors.door(name).call(method as typeof listAgents, { orderBy }, operator);
      expect(await fieldsOf(call as ReturnType<typeof beat>)).toEqual(["order_by"]);
    }
  });
});

describe.each(DOORS.filter((name) => name.startsWith("gRPC") || name.startsWith("Connect by")))(
  "in protobuf, %s",
  (name) => {
    test("unknown fields are ignored", async () => {
      const known = toBinary(heartbeat.input, create(heartbeat.input, { status: AgentStatus.BUSY }));
      // Field 1000, as a varint, as bytes, and as a fixed 64 bits.
      const unknown = [0xc0, 0x3e, 7, 0xc2, 0x3e, 2, 0xff, 0xff, 0xc1, 0x3e, 1, 2, 3, 4, 5, 6, 7, 8];
      const bytes = Buffer.concat([known, Buffer.from(unknown)]);
      const raw = { bytes, json: "" };
      const answer = messageOf(await doors.door(name).callRaw(heartbeat, raw, { token: agent.token }));
      expect(answer.agentStatus).toBe(AgentStatus.BUSY);
    });

    test("bytes that are no message are INVALID_ARGUMENT", async () => {
      const broken: [string, number[]][] = [
        ["a length past the end", [0x1a, 0x7f, 1]],
        ["a field that ends in its tag", [0x08]],
        ["a varint of eleven bytes", [0x08, ...Array.from({ length: 10 }, () => 0xff), 1]],
        ["field number zero", [0x08, 2, 0x00, 1]],
        ["a group that never ends", [0x08, 2, 0xc3, 0x3e]],
        ["an end of no group", [0x08, 2, 0xc4, 0x3e]],
        ["a wire type that does not exist", [0x08, 2, 0xc7, 0x3e]],
      ];
      for (const [what, bytes] of broken) {
        const raw = { bytes: Buffer.from(bytes), json: "" };
        const refusal = refusalOf(await doors.door(name).callRaw(heartbeat, raw, { token: agent.token }));
        expect([what, refusal.code]).toEqual([what, Code.InvalidArgument]);
      }
    });

    test("times and durations beyond the calendar are INVALID_ARGUMENT", async () => {
      const operator = { token: doors.server.operatorToken };
      const door = doors.door(name);
      const times = [
        { seconds: 2n ** 62n },
        { seconds: -(2n ** 62n) },
        { seconds: 253_402_300_800n },
        { nanos: -1 },
        { nanos: 1_000_000_000 },
      ];
      for (const since of times) {
        for (const method of [listErrors, listErrorGroups, listAuditEntries]) {
          // Each of these takes a since, and nothing else here.
          const refusal = refusalOf(await door.call(method as typeof listErrors, { since }, operator));
          expect([since, refusal.code, refusal.violations.map(({ field }) => field)]).toEqual([
            since,
            Code.InvalidArgument,
            ["since"],
          ]);
        }
      }
      for (const ttl of [{ seconds: 2n ** 62n }, { seconds: 60n, nanos: -1 }, { seconds: 60n, nanos: 2e9 }]) {
        const refusal = refusalOf(await door.call(createToken, { role: TokenRole.VIEWER, ttl }, operator));
        expect([ttl, refusal.code, refusal.violations.map(({ field }) => field)]).toEqual([
          ttl,
          Code.InvalidArgument,
          ["ttl"],
        ]);
      }
    });
  },
);

describe("in JSON", () => {
  const rest = (body: string, target = "/api/v1/agent/heartbeat", token = agent.token) =>
    sendHttp(doors.server.httpUrl, {
      method: "POST",
      target,
      headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
      body,
    });
  const fieldsOf = (answer: Awaited<ReturnType<typeof rest>>) => {
    const failure = failureOfAnswer(answer);
    expect(failure.code).toBe(Code.InvalidArgument);
    return failure.violations.map(({ field }) => field);
  };

  test("REST takes enums short, in full and by number, and gives them short", async () => {
    for (const status of ['"busy"', '"AGENT_STATUS_BUSY"', "3"]) {
      const answer = await rest(`{"status":${status}}`);
      expect(answer.status).toBe(200);
      expect(JSON.parse(answer.text)).toMatchObject({ agentStatus: "busy", acknowledged: true });
    }
    for (const status of ['"sleeping"', '"AGENT_STATUS_NONE"', "2.5", "true", "{}", '["online"]']) {
      expect(fieldsOf(await rest(`{"status":${status}}`))).toEqual(["status"]);
    }
  });

  test("REST refuses unknown fields, each by its path", async () => {
    const body =
      '{"status":"online","stauts":1,"error":{"severity":"warning","message":"m","colour":1},"session":{"boot":"b"}}';
    expect(fieldsOf(await rest(body))).toEqual(["stauts", "error.colour", "session.boot"]);
  });

  test("REST takes fields by their JSON name and by their proto name, not by both", async () => {
    expect((await rest('{"status":"online","session":{"boot_id":"b","sequence":"1"}}')).status).toBe(200);
    const both = '{"status":"online","session":{"boot_id":"b","bootId":"b","sequence":"2"}}';
    expect(fieldsOf(await rest(both))).toEqual(["session.bootId"]);
  });

  test("REST refuses whole numbers that a double cannot hold, by path", async () => {
    const inContext = (n: string) =>
      rest(`{"severity":"minor","message":"m","context":{"a":[{"n":${n}}]}}`, "/api/v1/agent/errors");
    for (const n of ["9007199254740992", "-9007199254740992", "1e300", "0.1", "-0"]) {
      expect((await inContext(n)).status).toBe(200);
    }
    for (const n of ["9007199254740993", "-9007199254740993", `1${"0".repeat(400)}`]) {
      expect(fieldsOf(await inContext(n))).toContain("context.a[0].n");
    }
    const lease = (epoch: string) =>
      rest(`{"status":"online","currentTask":{"taskId":"t","leaseEpoch":${epoch}}}`);
    expect(fieldsOf(await lease("9007199254740993"))).toEqual(["currentTask.leaseEpoch"]);
    expect((await lease('"9007199254740993"')).status).toBe(200);
    expect((await lease("7")).status).toBe(200);
    for (const epoch of ['"9223372036854775808"', "1.5", '"1.5"', '"x"', "null0"]) {
      expect((await lease(epoch)).status).toBe(400);
    }
  });

  test("REST refuses what is no number where a number belongs", async () => {
    const task = (progress: string) =>
      rest(`{"status":"online","currentTask":{"taskId":"t","progress":${progress}}}`);
    for (const progress of ['"half"', "true", "[]", '""', '" 1"']) {
      expect(fieldsOf(await task(progress))).toEqual(["currentTask.progress"]);
    }
    // Far beyond a double is infinite, and what the contract says of progress holds for it too.
    for (const progress of ["1e400", '"Infinity"', '"NaN"']) {
      expect(fieldsOf(await task(progress)).length).toBeGreaterThan(0);
    }
    const uses = (maxUses: string) =>
      rest(`{"role":"enrollment","maxUses":${maxUses}}`, "/api/v1/tokens", doors.server.operatorToken);
    for (const maxUses of ["2147483648", "1.5", '"many"', "-2147483649"]) {
      expect(fieldsOf(await uses(maxUses))).toEqual(["maxUses"]);
    }
  });

  test("REST names a bad query parameter", async () => {
    const get = (query: string) =>
      sendHttp(doors.server.httpUrl, {
        method: "GET",
        target: `/api/v1/${query}`,
        headers: { authorization: `Bearer ${doors.server.operatorToken}` },
      });
    const bad: [string, string][] = [
      ["agents?pageSize=2147483648", "pageSize"],
      ["agents?page_size=ten", "page_size"],
      ["agents?pageSize=1&pageSize=2", "pageSize"],
      ["agents?status=sleeping", "status"],
      ["agents?colour=red", "colour"],
      ["errors?since=yesterday", "since"],
      ["errors?since=2026-13-01T00:00:00Z", "since"],
      ["audit?until=9999999999999", "until"],
    ];
    for (const [query, field] of bad) {
      expect([query, fieldsOf(await get(query))]).toEqual([query, [field]]);
    }
    for (const query of [
      "agents?status=online&status=AGENT_STATUS_BUSY&status=4&page_size=5&orderBy=name%20desc",
      "errors?since=2026-01-01T00:00:00.5%2B02:00&severity=fatal",
    ]) {
      expect([query, (await get(query)).status]).toEqual([query, 200]);
    }
  });

  test("Connect ignores unknown fields, in JSON as in protobuf", async () => {
    const json =
      '{"status":"AGENT_STATUS_BUSY","stauts":1,"error":null,"session":{"bootId":"c","novel":{"a":[]}}}';
    const door = doors.door("Connect JSON by connect-web in Chromium");
    const call = await door.callRaw(heartbeat, { bytes: new Uint8Array(), json }, { token: agent.token });
    expect(messageOf(call).agentStatus).toBe(AgentStatus.BUSY);
  });

  test("a body of 64 levels is read, and one of 65 is not", async () => {
    const nested = (levels: number): string => `${'{"in":'.repeat(levels - 1)}{}${"}".repeat(levels - 1)}`;
    const door = doors.door("Connect JSON by connect-web in Chromium");
    const send = (json: string) =>
      door.callRaw(heartbeat, { bytes: new Uint8Array(), json }, { token: agent.token });
    // Connect ignores the unknown field that holds all the levels but the body's own.
    messageOf(await send(`{"status":"AGENT_STATUS_BUSY","novel":${nested(63)}}`));
    expect(refusalOf(await send(`{"status":"AGENT_STATUS_BUSY","novel":${nested(64)}}`)).code).toBe(
      Code.InvalidArgument,
    );
    // REST knows no field that may be that deep, but says of the deeper body that it is the body.
    const report = (levels: number) =>
      rest(`{"severity":"minor","message":"m","context":${nested(levels)}}`, "/api/v1/agent/errors");
    expect(fieldsOf(await report(63))[0]).toMatch(/^context/);
    const tooDeep = failureOfAnswer(await report(64));
    expect(tooDeep.code).toBe(Code.InvalidArgument);
    expect(tooDeep.message).toBe("the body is nested deeper than 64 levels");
    expect(failureOfAnswer(await report(100_000)).code).toBe(Code.InvalidArgument);
  });

  test("what REST gives for whole numbers of 64 bits is text", async () => {
    const answer = await sendHttp(doors.server.httpUrl, {
      method: "GET",
      target: `/api/v1/agents/${agent.name}`,
      headers: { authorization: `Bearer ${doors.server.operatorToken}` },
    });
    const seen: JsonObject = JSON.parse(answer.text);
    expect(typeof seen.version).toBe("string");
  });
});
