import { type DescMessage, type DescMethodUnary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { EventService } from "../../gen/drover/v1/event_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { ProjectService } from "../../gen/drover/v1/project_service_pb.js";
import { TokenService } from "../../gen/drover/v1/token_service_pb.js";
import { messageOf } from "../helpers/door-client.ts";
import { DOORS, type DoorName, useDoors } from "../helpers/door-suite.ts";
import { newAgent, newProject, type TestProject } from "../helpers/fleet.ts";

const MIB = 1024 * 1024;
const { heartbeat, reportError } = AgentService.method;
const { listAgents, listAgentSessions, listErrorGroups, listErrors } = FleetService.method;
const { listAuditEntries, listEvents } = EventService.method;
const { listTokens } = TokenService.method;
const { listProjects } = ProjectService.method;

const doors = useDoors();
/** A dozen of everything. */
let small: TestProject;
/** Agents and errors that hold as much as they may. */
let large: TestProject;

beforeAll(async () => {
  small = await newProject(doors);
  for (let i = 0; i < 12; i++) {
    const { token } = await newAgent(doors, {}, small.operator);
    // Some were never heard, and so share their place in an order by heartbeat.
    if (i % 3 === 0) continue;
    messageOf(await doors.anyDoor.call(heartbeat, { status: AgentStatus.ONLINE }, { token }));
    const report = { severity: Severity.MINOR, message: `${"abcdefghijkl"[i]} failed` };
    messageOf(await doors.anyDoor.call(reportError, report, { token }));
  }
  const restless = await newAgent(doors, { name: "restless" }, small.operator);
  for (let run = 1; run <= 11; run++) {
    const beat = { status: AgentStatus.ONLINE, session: { bootId: `run-${run}`, sequence: 1n } };
    messageOf(await doors.anyDoor.call(heartbeat, beat, { token: restless.token }));
  }
  large = await newProject(doors);
  const { id } = await newAgent(doors, {}, large.operator);
  // Lists of ones are what grows most between JSON and protobuf: from two bytes to eleven.
  const ones = JSON.stringify({ ones: Array.from({ length: 8000 }, () => 1) });
  await doors.server.database`
    INSERT INTO error_reports (project_id, id, agent_id, severity, message, context, fingerprint)
    SELECT project_id, gen_random_uuid(), id, 4, 'message', ${ones}::text::jsonb, 'fingerprint' || n
    FROM agents, generate_series(1, 60) n WHERE id = ${id.replace("agent_", "")}::uuid`;
  await doors.server.database`
    INSERT INTO agents (project_id, id, name, device_info)
    SELECT project_id, gen_random_uuid(), 'large-' || n, ${ones}::text::jsonb
    FROM agents, generate_series(1, 60) n WHERE id = ${id.replace("agent_", "")}::uuid`;
  await doors.server.database`
    INSERT INTO agent_states (project_id, agent_id) SELECT project_id, id FROM agents WHERE name LIKE 'large-%'`;
}, 120_000);

interface List<I extends DescMessage = DescMessage> {
  what: string;
  method: DescMethodUnary<I>;
  request: MessageInitShape<I>;
  /** What tells one row from another. */
  key: string;
}
const list = <I extends DescMessage>(each: List<I>): List =>
  // A table of many methods; each is used with its own.
  each as unknown as List;

const lists = [
  ...[
    "name",
    "name desc",
    "created_at",
    "created_at desc",
    "last_heartbeat_at",
    "last_heartbeat_at desc",
  ].map((orderBy) =>
    list({ what: `agents by ${orderBy}`, method: listAgents, request: { orderBy }, key: "id" }),
  ),
  ...["created_at", "created_at desc"].flatMap((orderBy) => [
    list({ what: `errors by ${orderBy}`, method: listErrors, request: { orderBy }, key: "id" }),
    list({ what: `tokens by ${orderBy}`, method: listTokens, request: { orderBy }, key: "id" }),
  ]),
  ...["time", "time desc"].flatMap((orderBy) => [
    list({ what: `audit entries by ${orderBy}`, method: listAuditEntries, request: { orderBy }, key: "id" }),
    list({ what: `events by ${orderBy}`, method: listEvents, request: { orderBy }, key: "cursor" }),
  ]),
  list({ what: "sessions", method: listAgentSessions, request: { agent: "restless" }, key: "bootId" }),
  list({ what: "groups of errors", method: listErrorGroups, request: {}, key: "fingerprint" }),
];

/** The rows of one page and the token of the next, whichever list it is. */
async function pageOf(
  name: DoorName,
  { method, request, key }: List,
  page: { pageSize: number; pageToken: string },
  token: string,
): Promise<{ keys: string[]; bytes: number; next: string }> {
  // The request is the method's own, and every list has these two fields.
  const init = { ...request, ...page } as MessageInitShape<DescMessage>;
  const message = messageOf(await doors.door(name).call(method, init, { token }));
  const { nextPageToken, ...fields } = message as typeof message & { nextPageToken: string };
  const rows = Object.values(fields).find(Array.isArray) as Record<string, string>[];
  return {
    keys: rows.map((row) => row[key] ?? ""),
    bytes: toBinary(method.output, message).length,
    next: nextPageToken,
  };
}

async function walk(name: DoorName, each: List, pageSize: number, token: string) {
  const pages: Awaited<ReturnType<typeof pageOf>>[] = [];
  let pageToken = "";
  do {
    const page = await pageOf(name, each, { pageSize, pageToken }, token);
    pages.push(page);
    pageToken = page.next;
    if (pages.length > 100) throw new Error("the pages do not end");
  } while (pageToken !== "");
  return pages;
}

describe.each(DOORS)("%s", (name) => {
  test.each(lists)("$what: pages of any size are the whole list in order", async (each) => {
    const [whole] = await walk(name, each, 1000, small.operator);
    expect(whole?.keys.length).toBeGreaterThanOrEqual(8);
    expect(new Set(whole?.keys).size).toBe(whole?.keys.length);
    const pages = await walk(name, each, 5, small.operator);
    expect(pages.slice(0, -1).every(({ keys }) => keys.length === 5)).toBe(true);
    expect(pages.flatMap(({ keys }) => keys)).toEqual(whole?.keys);
  });

  test.each([
    list({ what: "errors", method: listErrors, request: {}, key: "id" }),
    list({ what: "agents", method: listAgents, request: { namePrefix: "large" }, key: "id" }),
  ])("$what: a page ends before three mebibytes, and the rest follows", async (each) => {
    const pages = await walk(name, each, 1000, large.operator);
    for (const { bytes } of pages) expect(bytes).toBeLessThan(3 * MIB);
    expect(pages.length).toBe(2);
    const keys = pages.flatMap((page) => page.keys);
    expect(keys).toHaveLength(60);
    expect(new Set(keys).size).toBe(60);
  });
});

test("a row that comes or goes between two pages moves no other", async () => {
  const each = list({ what: "agents", method: listAgents, request: { orderBy: "name" }, key: "name" });
  const own = await newProject(doors);
  for (const name of ["b", "d", "f", "h"]) await newAgent(doors, { name }, own.operator);
  const first = await pageOf("REST", each, { pageSize: 2, pageToken: "" }, own.operator);
  expect(first.keys).toEqual(["b", "d"]);
  await newAgent(doors, { name: "a" }, own.operator);
  await newAgent(doors, { name: "e" }, own.operator);
  const gone = { agent: "d" };
  messageOf(await doors.anyDoor.call(FleetService.method.removeAgent, gone, { token: own.operator }));
  const second = await pageOf("REST", each, { pageSize: 9, pageToken: first.next }, own.operator);
  expect(second.keys).toEqual(["e", "f", "h"]);
});

test("each page of a list may come through another door", async () => {
  const request = {
    agent: "",
    severity: [Severity.MINOR],
    since: { seconds: 1_600_000_000n },
    orderBy: "created_at",
  };
  const each = list({ what: "errors", method: listErrors, request, key: "id" });
  const [whole] = await walk("REST", each, 1000, small.operator);
  const keys: string[] = [];
  let pageToken = "";
  for (const name of [...DOORS, ...DOORS]) {
    const page = await pageOf(name, each, { pageSize: 1, pageToken }, small.operator);
    keys.push(...page.keys);
    pageToken = page.next;
    if (pageToken === "") break;
  }
  expect(keys).toEqual(whole?.keys);
  expect(keys).toHaveLength(8);
});

test("projects page by name", async () => {
  const each = list({ what: "projects", method: listProjects, request: {}, key: "name" });
  await newProject(doors);
  const [whole] = await walk("REST", each, 1000, doors.server.operatorToken);
  for (const name of DOORS) {
    const pages = await walk(name, each, 2, doors.server.operatorToken);
    expect(pages.flatMap(({ keys }) => keys)).toEqual(whole?.keys);
  }
  expect(whole?.keys).toEqual([...(whole?.keys ?? [])].sort());
});
