import type { DescMessage, DescMethodUnary, JsonObject, MessageInitShape } from "@bufbuild/protobuf";
import { fromJson } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { EventService } from "../../gen/drover/v1/event_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { PassService } from "../../gen/drover/v1/pass_service_pb.js";
import { ProjectService } from "../../gen/drover/v1/project_service_pb.js";
import { TaskService } from "../../gen/drover/v1/task_service_pb.js";
import { TokenRole, TokenService } from "../../gen/drover/v1/token_service_pb.js";
import { TrackerService } from "../../gen/drover/v1/tracker_service_pb.js";
import { messageOf, refusalOf } from "../helpers/door-client.ts";
import { DOORS, useDoors } from "../helpers/door-suite.ts";
import { newAgent, newToken, type TestAgent, uniqueName } from "../helpers/fleet.ts";

/** A request whose one field holds `size` of whatever is limited, and who sends it. */
interface Limit<I extends DescMessage = DescMessage> {
  what: string;
  as: "agent" | "enrollment" | "operator";
  method: DescMethodUnary<I>;
  request: (size: number) => MessageInitShape<I>;
  cap: number;
  /** The field that a violation must name. */
  field: string;
}

const limit = <I extends DescMessage>(each: Limit<I>): Limit =>
  // Tables hold limits of many methods; each is made and used with messages of its own.
  each as unknown as Limit;

const text = (size: number) => "x".repeat(size);
/** Code points beyond the basic plane: two UTF-16 units and four bytes of UTF-8 each. */
const astral = (size: number) => "😀".repeat(size);
const list = (size: number) => Array.from({ length: size }, (_, i) => `item-${i}`);
const pairs = (size: number) => Object.fromEntries(list(size).map((key) => [key, "value"]));
const numbers = (size: number) => Object.fromEntries(list(size).map((key, i) => [key, i]));
/** An object that takes `size` bytes as compact JSON, most of them in characters of two bytes. */
const json = (size: number): JsonObject => {
  const rest = size - '{"text":""}'.length;
  return { text: "é".repeat(Math.floor(rest / 2)) + "x".repeat(rest % 2) };
};
/** Objects within one another, `levels` of them. */
const nested = (levels: number): JsonObject => (levels === 1 ? {} : { in: nested(levels - 1) });
/** Arrays within one object, `levels` in all. */
const nestedLists = (levels: number): JsonObject => {
  let value: JsonObject[string] = [];
  for (let level = 2; level < levels; level++) value = [value];
  return { in: value };
};

const KIB = 1024;
const online = AgentStatus.ONLINE;
const error = { severity: Severity.WARNING, message: "hot" };
const report = { severity: Severity.MINOR, message: "hot" };
const { claimTasks, enroll, heartbeat, reportError, rotateToken, updateTask } = AgentService.method;
const { batchCreateTasks, createTask, listTasks } = TaskService.method;
const { createToken, listTokens } = TokenService.method;
const { listAgents, listErrors, listErrorGroups } = FleetService.method;
const { listAuditEntries, listEvents } = EventService.method;
const { listRuns } = PassService.method;
const { createTracker, listIssues } = TrackerService.method;
const { createProject, listProjects } = ProjectService.method;

const ofAgents: Limit[] = [
  ...[text, astral].flatMap((letters) => [
    limit({
      what: `an error's message in a heartbeat, in ${letters(1)}`,
      as: "agent",
      method: heartbeat,
      request: (size) => ({ status: online, error: { ...error, message: letters(size) } }),
      cap: 4096,
      field: "error.message",
    }),
    limit({
      what: `a reported error's message, in ${letters(1)}`,
      as: "agent",
      method: reportError,
      request: (size) => ({ ...report, message: letters(size) }),
      cap: 4096,
      field: "message",
    }),
    limit({
      what: `the detail of a task, in ${letters(1)}`,
      as: "agent",
      method: heartbeat,
      request: (size) => ({ status: online, currentTask: { taskId: "task_x", detail: letters(size) } }),
      cap: 1024,
      field: "current_task.detail",
    }),
  ]),
  limit({
    what: "bytes of a context in a heartbeat",
    as: "agent",
    method: heartbeat,
    request: (size) => ({ status: online, error: { ...error, context: json(size) } }),
    cap: 16 * KIB,
    field: "error.context",
  }),
  limit({
    what: "bytes of a reported context",
    as: "agent",
    method: reportError,
    request: (size) => ({ ...report, context: json(size) }),
    cap: 16 * KIB,
    field: "context",
  }),
  ...[nested, nestedLists].map((shape) =>
    limit({
      what: `levels of a context, as ${shape.name}`,
      as: "agent",
      method: reportError,
      request: (size) => ({ ...report, context: shape(size) }),
      cap: 32,
      field: "context",
    }),
  ),
  limit({
    what: "levels of a context in a heartbeat",
    as: "agent",
    method: heartbeat,
    request: (size) => ({ status: online, error: { ...error, context: nested(size) } }),
    cap: 32,
    field: "error.context",
  }),
  limit({
    what: "bytes of a checkpoint in a heartbeat",
    as: "agent",
    method: heartbeat,
    request: (size) => ({
      status: online,
      currentTask: { taskId: "task_x", checkpoint: fromJson(ValueSchema, json(size)) },
    }),
    cap: 64 * KIB,
    field: "current_task.checkpoint",
  }),
  limit({
    what: "bytes of device_info",
    as: "agent",
    method: heartbeat,
    request: (size) => ({ status: online, deviceInfo: json(size) }),
    cap: 16 * KIB,
    field: "device_info",
  }),
  limit({
    what: "levels of device_info",
    as: "agent",
    method: heartbeat,
    request: (size) => ({ status: online, deviceInfo: nested(size) }),
    cap: 32,
    field: "device_info",
  }),
  limit({
    what: "labels",
    as: "agent",
    method: heartbeat,
    request: (size) => ({ status: online, labels: pairs(size) }),
    cap: 64,
    field: "labels",
  }),
  limit({
    what: "characters of a label's key",
    as: "agent",
    method: heartbeat,
    request: (size) => ({ status: online, labels: { [astral(size)]: "value" } }),
    cap: 128,
    // Cut where a path becomes too long for an answer.
    field: `labels["${astral(124)}…`,
  }),
  limit({
    what: "characters of a label's value",
    as: "agent",
    method: heartbeat,
    request: (size) => ({ status: online, labels: { zone: astral(size) } }),
    cap: 256,
    field: 'labels["zone"]',
  }),
  limit({
    what: "capabilities",
    as: "agent",
    method: heartbeat,
    request: (size) => ({ status: online, capabilities: list(size) }),
    cap: 64,
    field: "capabilities",
  }),
  limit({
    what: "gauges",
    as: "agent",
    method: heartbeat,
    request: (size) => ({ status: online, gauges: numbers(size) }),
    cap: 64,
    field: "gauges",
  }),
  limit({
    what: "characters of a boot_id",
    as: "agent",
    method: heartbeat,
    request: (size) => ({ status: online, session: { bootId: text(size), sequence: 1n } }),
    cap: 128,
    field: "session.boot_id",
  }),
  limit({
    what: "characters of a request_id",
    as: "agent",
    method: rotateToken,
    request: (size) => ({ requestId: text(size) }),
    cap: 128,
    field: "request_id",
  }),
];

ofAgents.push(
  limit({
    what: "leases that it holds",
    as: "agent",
    method: heartbeat,
    request: (size) => ({
      status: online,
      heldLeases: list(size).map((taskId) => ({ taskId, leaseEpoch: 1n })),
    }),
    cap: 1000,
    field: "held_leases",
  }),
  limit({
    what: "tasks of a claim",
    as: "agent",
    method: claimTasks,
    request: (max) => ({ kinds: ["nobody-makes-these"], max }),
    cap: 100,
    field: "max",
  }),
  limit({
    what: "kinds of a claim",
    as: "agent",
    method: claimTasks,
    request: (size) => ({ kinds: list(size) }),
    cap: 64,
    field: "kinds",
  }),
);

const ofEnrollments: Limit[] = [
  limit({
    what: "characters of a name",
    as: "enrollment",
    method: enroll,
    request: (size) => ({ name: uniqueName("agent").padEnd(size, "x") }),
    cap: 128,
    field: "name",
  }),
  limit({
    what: "characters of a nonce",
    as: "enrollment",
    method: enroll,
    request: (size) => ({ name: uniqueName("agent"), nonce: uniqueName("nonce").padEnd(size, "x") }),
    cap: 128,
    field: "nonce",
  }),
  limit({
    what: "labels",
    as: "enrollment",
    method: enroll,
    request: (size) => ({ name: uniqueName("agent"), labels: pairs(size) }),
    cap: 64,
    field: "labels",
  }),
  limit({
    what: "capabilities",
    as: "enrollment",
    method: enroll,
    request: (size) => ({ name: uniqueName("agent"), capabilities: list(size) }),
    cap: 64,
    field: "capabilities",
  }),
  limit({
    what: "bytes of device_info",
    as: "enrollment",
    method: enroll,
    request: (size) => ({ name: uniqueName("agent"), deviceInfo: json(size) }),
    cap: 16 * KIB,
    field: "device_info",
  }),
];

const trackerOf = (more: object) => ({
  repository: `acme/${uniqueName("limit")}`,
  disabled: true,
  ...more,
});

const ofOperators: Limit[] = [
  limit({
    what: "characters of a repository's name",
    as: "operator",
    method: createTracker,
    request: (size) => ({ repository: `acme/${uniqueName("limit").padEnd(size, "x")}`, disabled: true }),
    cap: 100,
    field: "repository",
  }),
  limit({
    what: "characters of a tracker's address",
    as: "operator",
    method: createTracker,
    request: (size) => trackerOf({ baseUrl: "https://ghe.example.com/".padEnd(size, "x") }),
    cap: 512,
    field: "base_url",
  }),
  limit({
    what: "characters of a rule's label",
    as: "operator",
    method: createTracker,
    request: (size) => trackerOf({ rule: { label: astral(size), taskKind: "k" } }),
    cap: 256,
    field: "rule.label",
  }),
  limit({
    what: "a rule's priority",
    as: "operator",
    method: createTracker,
    request: (priority) => trackerOf({ rule: { label: "l", taskKind: "k", priority } }),
    cap: 9,
    field: "rule.priority",
  }),
  limit({
    what: "runs of a page",
    as: "operator",
    method: listRuns,
    request: (pageSize) => ({ pageSize }),
    cap: 1000,
    field: "page_size",
  }),
  limit({
    what: "issues of a page",
    as: "operator",
    method: listIssues,
    request: (pageSize) => ({ pageSize }),
    cap: 1000,
    field: "page_size",
  }),
  limit({
    what: "labels of a list of issues",
    as: "operator",
    method: listIssues,
    request: (size) => ({ labels: list(size) }),
    cap: 16,
    field: "labels",
  }),
  limit({
    what: "tasks of a batch",
    as: "operator",
    method: batchCreateTasks,
    request: (size) => ({ requests: list(size).map(() => ({ kind: "limits" })) }),
    cap: 1000,
    field: "requests",
  }),
  limit({
    what: "bytes of a payload in a batch",
    as: "operator",
    method: batchCreateTasks,
    request: (size) => ({
      requests: [{ kind: "limits" }, { kind: "limits", payload: fromJson(ValueSchema, json(size)) }],
    }),
    cap: 256 * KIB,
    field: "requests[1].payload",
  }),
  limit({
    what: "required capabilities",
    as: "operator",
    method: createTask,
    request: (size) => ({ kind: "limits", requiredCapabilities: list(size) }),
    cap: 64,
    field: "required_capabilities",
  }),
  limit({
    what: "characters of a required capability",
    as: "operator",
    method: createTask,
    request: (size) => ({ kind: "limits", requiredCapabilities: [astral(size)] }),
    cap: 128,
    field: "required_capabilities[0]",
  }),
  limit({
    what: "required labels",
    as: "operator",
    method: createTask,
    request: (size) => ({ kind: "limits", requiredLabels: pairs(size) }),
    cap: 64,
    field: "required_labels",
  }),
  limit({
    what: "bytes of a payload",
    as: "operator",
    method: createTask,
    request: (size) => ({ kind: "limits", payload: fromJson(ValueSchema, json(size)) }),
    cap: 256 * KIB,
    field: "payload",
  }),
  ...[nested, nestedLists].map((shape) =>
    limit({
      what: `levels of a payload, as ${shape.name}`,
      as: "operator",
      method: createTask,
      request: (size) => ({ kind: "limits", payload: fromJson(ValueSchema, shape(size)) }),
      cap: 32,
      field: "payload",
    }),
  ),
  limit({
    what: "characters of a kind",
    as: "operator",
    method: createTask,
    request: (size) => ({ kind: text(size) }),
    cap: 128,
    field: "kind",
  }),
  limit({
    what: "priority",
    as: "operator",
    method: createTask,
    request: (priority) => ({ kind: "limits", priority }),
    cap: 9,
    field: "priority",
  }),
  limit({
    what: "retries",
    as: "operator",
    method: createTask,
    request: (maxRetries) => ({ kind: "limits", maxRetries }),
    cap: 1000,
    field: "max_retries",
  }),
  limit({
    what: "seconds of a timeout",
    as: "operator",
    method: createTask,
    request: (size) => ({ kind: "limits", timeout: { seconds: BigInt(size) } }),
    cap: 2_592_000,
    field: "timeout",
  }),
  limit({
    what: "labels",
    as: "operator",
    method: createTask,
    request: (size) => ({ kind: "limits", labels: pairs(size) }),
    cap: 64,
    field: "labels",
  }),
  ...[
    listAgents,
    listErrors,
    listErrorGroups,
    listAuditEntries,
    listEvents,
    listTokens,
    listProjects,
    listTasks,
  ].map((method) =>
    limit({
      what: "rows of a page",
      as: "operator",
      // Each of these takes a page_size, and nothing else here.
      method: method as typeof listAgents,
      request: (pageSize) => ({ pageSize }),
      cap: 1000,
      field: "page_size",
    }),
  ),
  limit({
    what: "labels",
    as: "operator",
    method: createToken,
    request: (size) => ({ role: TokenRole.VIEWER, labels: pairs(size) }),
    cap: 64,
    field: "labels",
  }),
  limit({
    what: "uses",
    as: "operator",
    method: createToken,
    request: (maxUses) => ({ role: TokenRole.ENROLLMENT, maxUses }),
    cap: 1_000_000,
    field: "max_uses",
  }),
  limit({
    what: "seconds of a token's life",
    as: "operator",
    method: createToken,
    request: (size) => ({ role: TokenRole.VIEWER, ttl: { seconds: BigInt(size) } }),
    cap: 315_360_000,
    field: "ttl",
  }),
  limit({
    what: "characters of a name",
    as: "operator",
    method: createProject,
    request: (size) => ({ name: uniqueName("project").padEnd(size, "x") }),
    cap: 128,
    field: "name",
  }),
  limit({
    what: "filters by severity",
    as: "operator",
    method: listErrors,
    request: (size) => ({ severity: Array.from({ length: size }, () => Severity.FATAL) }),
    cap: 16,
    field: "severity",
  }),
];

const doors = useDoors();
let agent: TestAgent;
let enrollment: string;

beforeAll(async () => {
  agent = await newAgent(doors);
  ({ secret: enrollment } = await newToken(doors, { role: TokenRole.ENROLLMENT, maxUses: 1000 }));
});

const tokenOf = (as: Limit["as"]): string =>
  ({ agent: agent.token, enrollment, operator: doors.server.operatorToken })[as];

describe.each(DOORS)("%s", (name) => {
  test.each([...ofAgents, ...ofEnrollments, ...ofOperators])(
    "$method.name: $what, $cap and no more",
    async ({ as, method, request, cap, field }) => {
      const door = doors.door(name);
      const token = tokenOf(as);
      messageOf(await door.call(method, request(cap), { token }));
      const refusal = refusalOf(await door.call(method, request(cap + 1), { token }));
      expect(refusal.code).toBe(Code.InvalidArgument);
      // What nests too deep is named where it does: `context.in.in…`.
      expect(refusal.violations.map((violation) => violation.field.split(".in")[0])).toContain(field);
      expect(refusal.message).toContain(field);
      if (refusal.httpStatus !== undefined) expect(refusal.httpStatus).toBe(400);
    },
  );

  test("what is needed and missing, or below its least, is named too", async () => {
    const door = doors.door(name);
    const cases = [
      limit({
        what: "an empty name",
        as: "enrollment",
        method: enroll,
        request: () => ({ name: "" }),
        cap: 0,
        field: "name",
      }),
      limit({
        what: "no message",
        as: "agent",
        method: reportError,
        request: () => ({ severity: Severity.MINOR }),
        cap: 0,
        field: "message",
      }),
      limit({
        what: "a negative page",
        as: "operator",
        method: listAgents,
        request: () => ({ pageSize: -1 }),
        cap: 0,
        field: "page_size",
      }),
      limit({
        what: "an empty key",
        as: "agent",
        method: heartbeat,
        request: () => ({ status: online, labels: { "": "" } }),
        cap: 0,
        field: 'labels[""]',
      }),
      limit({
        what: "a life of no time",
        as: "operator",
        method: createToken,
        request: () => ({ role: TokenRole.VIEWER, ttl: {} }),
        cap: 0,
        field: "ttl",
      }),
    ];
    for (const { as, method, request, field } of cases) {
      const refusal = refusalOf(await door.call(method, request(0), { token: tokenOf(as) }));
      expect(refusal.code).toBe(Code.InvalidArgument);
      expect(refusal.violations.map((violation) => violation.field)).toEqual([field]);
    }
  });

  test("every violation is listed at once", async () => {
    const request = {
      status: online,
      labels: pairs(65),
      capabilities: list(65),
      error: { severity: Severity.MAJOR, message: text(4097) },
      session: { bootId: "", sequence: -1n },
    };
    const refusal = refusalOf(await doors.door(name).call(heartbeat, request, { token: agent.token }));
    expect(refusal.code).toBe(Code.InvalidArgument);
    expect(refusal.violations.map((violation) => violation.field).sort()).toEqual([
      "capabilities",
      "error.message",
      "error.severity",
      "labels",
      "session.boot_id",
      "session.sequence",
    ]);
  });
});

test.each(DOORS)("%s: UpdateTask: bytes of a checkpoint, 65536 and no more", async (name) => {
  const door = doors.door(name);
  const kind = uniqueName("kind");
  messageOf(await door.call(createTask, { kind }, { token: doors.server.operatorToken }));
  const { tasks } = messageOf(await door.call(claimTasks, { kinds: [kind] }, { token: agent.token }));
  const update = (size: number) => ({
    task: tasks[0]?.id ?? "",
    leaseEpoch: 1n,
    checkpoint: fromJson(ValueSchema, json(size)),
  });
  messageOf(await door.call(updateTask, update(64 * KIB), { token: agent.token }));
  const refusal = refusalOf(await door.call(updateTask, update(64 * KIB + 1), { token: agent.token }));
  expect(refusal.code).toBe(Code.InvalidArgument);
  expect(refusal.violations.map(({ field }) => field)).toEqual(["checkpoint"]);
});

test("an agent keeps what was at the cap and nothing of what was over it", async () => {
  const other = await newAgent(doors);
  const door = doors.anyDoor;
  const { token } = other;
  messageOf(
    await door.call(heartbeat, { status: online, labels: pairs(64), deviceInfo: json(16 * KIB) }, { token }),
  );
  refusalOf(await door.call(heartbeat, { status: AgentStatus.BUSY, labels: pairs(65) }, { token }));
  const [row] = await doors.server.database<{ status: string; labels: string; device_info: string }>`
    SELECT status, labels::text, device_info::text FROM agents JOIN agent_states ON agent_id = id
    WHERE name = ${other.name}`;
  expect(row?.status).toBe("online");
  expect(JSON.parse(row?.labels ?? "")).toEqual(pairs(64));
  expect(JSON.parse(row?.device_info ?? "")).toEqual(json(16 * KIB));
});
