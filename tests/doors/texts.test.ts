import type {
  DescMessage,
  DescMethodUnary,
  JsonObject,
  JsonValue,
  MessageInitShape,
} from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { EventService } from "../../gen/drover/v1/event_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { TokenRole, TokenService } from "../../gen/drover/v1/token_service_pb.js";
import { messageOf, rawRequest, refusalOf, SURROGATE_STAND_IN } from "../helpers/door-client.ts";
import { DOORS, type DoorName, useDoors } from "../helpers/door-suite.ts";
import { newAgent, newToken, type TestAgent, uniqueName } from "../helpers/fleet.ts";
import { sendHttp } from "../helpers/rest-client.ts";

const { enroll, heartbeat, reportError } = AgentService.method;
const { getAgent, listAgents, listErrors } = FleetService.method;
const { createToken } = TokenService.method;
const { listAuditEntries } = EventService.method;

const doors = useDoors();
let agent: TestAgent;
let enrollment: string;

beforeAll(async () => {
  agent = await newAgent(doors);
  ({ secret: enrollment } = await newToken(doors, { role: TokenRole.ENROLLMENT, maxUses: 1000 }));
});

type Role = "agent" | "enrollment" | "operator";
const tokenOf = (as: Role): string =>
  ({ agent: agent.token, enrollment, operator: doors.server.operatorToken })[as];

/** Where a text can stand: the request in its JSON form, with the text in one place, and the path of that place. */
interface Place<I extends DescMessage = DescMessage> {
  method: DescMethodUnary<I>;
  as: Role;
  init: (text: string) => MessageInitShape<I>;
  json: (text: string) => JsonValue;
  field: string;
}

const place = <I extends DescMessage>(each: Place<I>): Place =>
  // A table of many methods; each place is used with its own.
  each as unknown as Place;

const inBeat = (field: string, init: (text: string) => object, json: (text: string) => JsonObject) =>
  place({
    method: heartbeat,
    as: "agent",
    init: (text) => ({ status: AgentStatus.ONLINE, ...init(text) }),
    json: (text) => ({ status: "AGENT_STATUS_ONLINE", ...json(text) }),
    field,
  });

const warning = { severity: Severity.WARNING, message: "hot" };
const warningJson = { severity: "SEVERITY_WARNING", message: "hot" };

const places: Place[] = [
  inBeat(
    "error.message",
    (text) => ({ error: { ...warning, message: text } }),
    (text) => ({ error: { ...warningJson, message: text } }),
  ),
  inBeat(
    "error.context.a.b[1]",
    (text) => ({ error: { ...warning, context: { a: { b: ["", text] } } } }),
    (text) => ({ error: { ...warningJson, context: { a: { b: ["", text] } } } }),
  ),
  inBeat(
    "error.context[",
    (text) => ({ error: { ...warning, context: { [text]: 1 } } }),
    (text) => ({ error: { ...warningJson, context: { [text]: 1 } } }),
  ),
  inBeat(
    "device_info.os",
    (os) => ({ deviceInfo: { os } }),
    (os) => ({ deviceInfo: { os } }),
  ),
  inBeat(
    "labels",
    (zone) => ({ labels: { zone } }),
    (zone) => ({ labels: { zone } }),
  ),
  inBeat(
    "labels[",
    (key) => ({ labels: { [key]: "" } }),
    (key) => ({ labels: { [key]: "" } }),
  ),
  inBeat(
    "gauges[",
    (key) => ({ gauges: { [key]: 1 } }),
    (key) => ({ gauges: { [key]: 1 } }),
  ),
  inBeat(
    "capabilities[1]",
    (text) => ({ capabilities: ["a", text] }),
    (text) => ({ capabilities: ["a", text] }),
  ),
  inBeat(
    "current_task.detail",
    (detail) => ({ currentTask: { taskId: "t", detail } }),
    (detail) => ({ currentTask: { taskId: "t", detail } }),
  ),
  inBeat(
    "current_task.task_id",
    (taskId) => ({ currentTask: { taskId } }),
    (taskId) => ({ currentTask: { taskId } }),
  ),
  inBeat(
    "session.boot_id",
    (bootId) => ({ session: { bootId } }),
    (bootId) => ({ session: { bootId } }),
  ),
  place({
    method: reportError,
    as: "agent",
    init: (message) => ({ ...warning, message }),
    json: (message) => ({ ...warningJson, message }),
    field: "message",
  }),
  place({
    method: reportError,
    as: "agent",
    init: (requestId) => ({ ...warning, requestId }),
    json: (requestId) => ({ ...warningJson, requestId }),
    field: "request_id",
  }),
  place({
    method: enroll,
    as: "enrollment",
    init: (name) => ({ name }),
    json: (name) => ({ name }),
    field: "name",
  }),
  place({
    method: enroll,
    as: "enrollment",
    init: (nonce) => ({ name: "n", nonce }),
    json: (nonce) => ({ name: "n", nonce }),
    field: "nonce",
  }),
  place({
    method: createToken,
    as: "operator",
    init: (zone) => ({ role: TokenRole.VIEWER, labels: { zone } }),
    json: (zone) => ({ role: "TOKEN_ROLE_VIEWER", labels: { zone } }),
    field: "labels",
  }),
];

/** REST names a field as its caller wrote it, the other doors as the contract does. */
const asInContract = (field: string) => field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

describe.each(DOORS)("%s", (name) => {
  test.each(places)("$method.name refuses NUL in $field", async ({ method, as, init, json, field }) => {
    const request = rawRequest(method.input, init("a\0b"), json("a\0b"));
    const refusal = refusalOf(await doors.door(name).callRaw(method, request, { token: tokenOf(as) }));
    expect(refusal.code).toBe(Code.InvalidArgument);
    expect(refusal.violations.length).toBeGreaterThan(0);
    for (const violation of refusal.violations)
      expect(asInContract(violation.field).startsWith(field)).toBe(true);
  });

  test.each(places)("$method.name refuses half a surrogate pair in $field", async (each) => {
    const { method, as, init, json, field } = each;
    const door = doors.door(name);
    const request = rawRequest(method.input, init(`a${SURROGATE_STAND_IN}b`), json("a\ud800b"));
    const refusal = refusalOf(await door.callRaw(method, request, { token: tokenOf(as) }));
    expect(refusal.code).toBe(Code.InvalidArgument);
    // In protobuf these are bytes that are no UTF-8, which no field can be read from.
    if (door.carries === "json") {
      for (const violation of refusal.violations)
        expect(asInContract(violation.field).startsWith(field)).toBe(true);
    }
  });

  test("names that JavaScript's objects are born with are plain data", async () => {
    const own = await newAgent(doors);
    const token = own.token;
    // Written as JSON text, since an object literal would set its prototype.
    const strange: Record<string, string> = JSON.parse('{"__proto__":"p","constructor":"c","toString":"t"}');
    const context: JsonObject = JSON.parse(
      '{"__proto__":{"__proto__":{"isAdmin":true}},"constructor":{"prototype":1}}',
    );
    const numbers: Record<string, number> = JSON.parse('{"__proto__":1,"hasOwnProperty":2}');
    const door = doors.door(name);
    const beat = {
      status: AgentStatus.ONLINE,
      labels: strange,
      gauges: numbers,
      deviceInfo: context,
      error: { ...warning, context },
    };
    messageOf(await door.call(heartbeat, beat, { token }));
    messageOf(await door.call(reportError, { ...warning, context }, { token }));
    const operator = { token: doors.server.operatorToken };
    const { agent: seen } = messageOf(await door.call(getAgent, { agent: own.name }, operator));
    expect(Object.entries(seen?.labels ?? {}).sort()).toEqual(Object.entries(strange).sort());
    expect(Object.entries(seen?.gauges ?? {}).sort()).toEqual(Object.entries(numbers).sort());
    expect(sorted(seen?.deviceInfo)).toBe(sorted(context));
    const { errors } = messageOf(await door.call(listErrors, { agent: own.name }, operator));
    expect(errors.map((error) => sorted(error.context))).toEqual([sorted(context), sorted(context)]);
    expect(({} as { isAdmin?: boolean }).isAdmin).toBeUndefined();
    const labels = ["__proto__=p", "constructor=c"];
    const { agents } = messageOf(await door.call(listAgents, { labels, namePrefix: own.name }, operator));
    expect(agents.map((each) => each.name)).toEqual([own.name]);
  });

  test("what means something to SQL, logs, terminals or pages is stored as it came", async () => {
    const own = await newAgent(doors);
    const texts = [
      "'; DROP TABLE agents; --",
      'line one\r\nlevel=error msg="forged"\n\ttab',
      "%s %n %00 {} $1 $(id) `id` \\u0000 \\",
      "\u001b[31mred\u001b[0m \u0007\u202e\u2028\u2029\ufeff",
      "<script>alert(1)</script> &amp; 日本語 😀 e\u0301 \ufffe\uffff",
      " leading and trailing ",
    ];
    const door = doors.door(name);
    const operator = { token: doors.server.operatorToken };
    for (const message of texts) {
      const request = { ...warning, message, context: { [message]: message } };
      const { errorReport } = messageOf(await door.call(reportError, request, { token: own.token }));
      expect(errorReport?.message).toBe(message);
      expect(errorReport?.context).toEqual({ [message]: message });
    }
    const labels = Object.fromEntries(texts.map((text) => [text, text]));
    const beat = { status: AgentStatus.BUSY, labels, session: { bootId: texts[0] ?? "", sequence: 1n } };
    messageOf(await door.call(heartbeat, beat, { token: own.token }));
    const { errors } = messageOf(
      await door.call(listErrors, { agent: own.name, orderBy: "created_at" }, operator),
    );
    expect(errors.map((error) => error.message)).toEqual(texts);
    const { agent: seen } = messageOf(await door.call(getAgent, { agent: own.name }, operator));
    expect(seen?.labels).toEqual(labels);
    expect(seen?.session?.bootId).toBe(texts[0]);
    const nothing = messageOf(
      await door.call(listAuditEntries, { actor: "' OR true --", field: "%" }, operator),
    );
    expect(nothing.entries).toEqual([]);
    const nobody = messageOf(await door.call(listAgents, { namePrefix: "%", labels: ["a'=b"] }, operator));
    expect(nobody.agents).toEqual([]);
  });

  test("a name is what a name may be, and nothing else", async () => {
    const names = [
      "a/b",
      "..",
      ".a",
      "-a",
      "_a",
      "a b",
      "a\n",
      "ä",
      "a%2Fb",
      "a:reset",
      "é",
      "",
      "a\u0000",
      "😀",
    ];
    for (const bad of names) {
      const refusal = refusalOf(await doors.door(name).call(enroll, { name: bad }, { token: enrollment }));
      expect(refusal.code).toBe(Code.InvalidArgument);
      expect(refusal.violations.map(({ field }) => field)).toEqual(["name"]);
    }
    const good = uniqueName("A.b_c-9");
    expect(
      messageOf(await doors.door(name).call(enroll, { name: good }, { token: enrollment })).agent?.name,
    ).toBe(good);
  });

  test("what is wrong with very long keys, and with very many, still fits in the answer", async () => {
    const door = doors.door(name);
    const { token } = agent;
    const long = "k".repeat(200_000);
    const many = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`${i}`.padEnd(300, "k"), "v"]));
    for (const labels of [
      { [long]: "" },
      many,
      { [`${long}\0`]: "" },
      Object.fromEntries([["😀".repeat(999), ""]]),
    ]) {
      const refusal = refusalOf(
        await door.call(heartbeat, { status: AgentStatus.ONLINE, labels }, { token }),
      );
      expect(refusal.code).toBe(Code.InvalidArgument);
      expect(refusal.violations.length).toBeGreaterThan(0);
      for (const { field } of refusal.violations) expect(field).toMatch(/^labels/);
    }
  });
});

const sorted = (json: JsonValue | undefined): string =>
  JSON.stringify(json, (_, value: unknown) =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort())
      : value,
  );

describe("JSON that is not well-formed text", () => {
  const bodies: [string, Uint8Array | string][] = [
    ["no JSON", "{"],
    ["invalid UTF-8", Buffer.from('{"status":"online","labels":{"a":"\xff"}}', "latin1")],
    ["an overlong form", Buffer.from([0x7b, 0x22, 0xc0, 0xaf, 0x22, 0x3a, 0x31, 0x7d])],
    ["a raw NUL", '{"status":"online","labels":{"a":"\0"}}'],
    ["a raw line break in a string", '{"status":"online","labels":{"a":"\n"}}'],
    ["a list", "[]"],
    ["a text", '"online"'],
    ["two values", '{"status":"online"}{}'],
    ["a comment", '{"status":"online" /* fine */}'],
    ["a trailing comma", '{"status":"online",}'],
  ];
  const targets: [DoorName, string][] = [
    ["REST", "/api/v1/agent/heartbeat"],
    ["Connect JSON by connect-web in Chromium", "/drover.v1.AgentService/Heartbeat"],
  ];

  test.each(
    targets.flatMap(([door, target]) => bodies.map(([what, body]) => ({ door, target, what, body }))),
  )("$door answers 400 to $what", async ({ target, body }) => {
    const headers = { "content-type": "application/json", authorization: `Bearer ${agent.token}` };
    const answer = await sendHttp(doors.server.httpUrl, { method: "POST", target, headers, body });
    expect(answer.status).toBe(400);
    expect(answer.text).toMatch(/INVALID_ARGUMENT|invalid_argument/);
  });

  test("REST refuses a key given twice, by its path", async () => {
    const body = '{"status":"online","labels":{"a":"1","a":"2"},"error":{"message":"m","\\u006dessage":"n"}}';
    const headers = { "content-type": "application/json", authorization: `Bearer ${agent.token}` };
    const target = "/api/v1/agent/heartbeat";
    const answer = await sendHttp(doors.server.httpUrl, { method: "POST", target, headers, body });
    expect(answer.status).toBe(400);
    const { error }: { error: { details: { fieldViolations: { field: string }[] }[] } } = JSON.parse(
      answer.text,
    );
    expect(error.details[0]?.fieldViolations.map(({ field }) => field)).toEqual([
      "labels.a",
      "error.message",
    ]);
  });
});

test("every line of the log is one JSON object, whatever agents say", async () => {
  const own = await newAgent(doors);
  const bootId = 'x"}\n{"level":"fatal"}';
  const taskId = 'task\r\n{"level":"fatal"}';
  const beat = { status: AgentStatus.ERROR, session: { bootId, sequence: 0n }, currentTask: { taskId } };
  messageOf(await doors.anyDoor.call(heartbeat, beat, { token: own.token }));
  const lines = doors.server.output().trimEnd().split("\n");
  const logged: { level: string; agent?: string; task?: string }[] = lines.map((line) => JSON.parse(line));
  expect(logged.every(({ level }) => level !== "fatal")).toBe(true);
  expect(logged.find((line) => line.agent === own.name && line.task !== undefined)?.task).toBe(taskId);
});
