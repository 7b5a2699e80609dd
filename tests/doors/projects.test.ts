import { toJson } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { EventService } from "../../gen/drover/v1/event_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { ProjectService } from "../../gen/drover/v1/project_service_pb.js";
import { TokenRole, TokenService } from "../../gen/drover/v1/token_service_pb.js";
import { type Failure, messageOf, refusalOf } from "../helpers/door-client.ts";
import { DOORS, useDoors } from "../helpers/door-suite.ts";
import {
  newAgent,
  newProject,
  newToken,
  type TestAgent,
  type TestProject,
  uniqueName,
} from "../helpers/fleet.ts";

const { enroll, heartbeat, reportError } = AgentService.method;
const { getAgent, listAgents, listAgentSessions, listErrors, listErrorGroups, removeAgent, resetAgent } =
  FleetService.method;
const { listAuditEntries } = EventService.method;
const { getToken, listTokens, revokeToken } = TokenService.method;
const { listProjects } = ProjectService.method;

const doors = useDoors();
let ours: TestProject;
let theirs: TestProject;
let victim: TestAgent;
let theirToken: { id: string; secret: string };
let fingerprint: string;

beforeAll(async () => {
  ours = await newProject(doors);
  theirs = await newProject(doors);
  victim = await newAgent(doors, {}, theirs.operator);
  theirToken = await newToken(doors, { role: TokenRole.VIEWER }, theirs.operator);
  const beat = { status: AgentStatus.ERROR, error: { severity: Severity.FATAL, message: "all gone" } };
  messageOf(await doors.anyDoor.call(heartbeat, beat, { token: victim.token }));
  const { errors } = messageOf(await doors.anyDoor.call(listErrors, {}, { token: theirs.operator }));
  fingerprint = errors[0]?.fingerprint ?? "";
  expect(fingerprint).not.toBe("");
});

const shown = ({ code, message, violations, reason }: Failure) => ({ code, message, violations, reason });

/** All that the database holds of their project, but for the time a token was last used. */
async function theirState(): Promise<unknown[]> {
  const rows: unknown[] = [];
  const tables = [
    "agents",
    "agent_states",
    "agent_sessions",
    "tokens",
    "error_reports",
    "audit_entries",
    "enrollments",
  ];
  for (const table of tables) {
    const statement = `SELECT to_jsonb(t) - 'last_used_at' AS row FROM ${table} t
      WHERE project_id = (SELECT id FROM projects WHERE name = '${theirs.name}') ORDER BY (to_jsonb(t) - 'last_used_at')::text`;
    // A statement without values, so that the table can be named.
    rows.push(...(await doors.server.database(Object.assign([statement], { raw: [statement] }))));
  }
  return rows;
}

describe.each(DOORS)("%s", (name) => {
  test("what is someone else's does not exist, and stays as it is", async () => {
    const door = doors.door(name);
    const as = { token: ours.operator };
    const before = await theirState();
    const nobody = uniqueName("nobody");
    for (const method of [getAgent, listAgentSessions, resetAgent, removeAgent]) {
      // Each of these takes an agent, and nothing else here.
      const foreign = refusalOf(await door.call(method as typeof getAgent, { agent: victim.name }, as));
      const missing = refusalOf(await door.call(method as typeof getAgent, { agent: nobody }, as));
      expect(foreign.code).toBe(Code.NotFound);
      expect({ ...shown(foreign), message: foreign.message.replace(victim.name, "NAME") }).toEqual({
        ...shown(missing),
        message: missing.message.replace(nobody, "NAME"),
      });
    }
    const unknown = "token_01900000-0000-7000-8000-000000000000";
    for (const method of [getToken, revokeToken]) {
      // And each of these a token.
      const foreign = refusalOf(await door.call(method as typeof getToken, { token: theirToken.id }, as));
      expect(foreign.code).toBe(Code.NotFound);
      expect(shown(foreign)).toEqual(
        shown(refusalOf(await door.call(method as typeof getToken, { token: unknown }, as))),
      );
    }
    expect(await theirState()).toEqual(before);
  });

  test("lists show nothing of it, whatever they are asked for", async () => {
    const door = doors.door(name);
    const as = { token: ours.operator };
    expect(messageOf(await door.call(listAgents, { namePrefix: victim.name }, as)).agents).toEqual([]);
    for (const agent of [victim.name, victim.id]) {
      expect(messageOf(await door.call(listErrors, { agent }, as)).errors).toEqual([]);
      expect(messageOf(await door.call(listErrorGroups, { agent }, as)).errorGroups).toEqual([]);
      expect(messageOf(await door.call(listTokens, { agent }, as)).tokens).toEqual([]);
    }
    expect(messageOf(await door.call(listErrors, { fingerprint }, as)).errors).toEqual([]);
    for (const subject of [victim.name, victim.id, theirToken.id]) {
      expect(messageOf(await door.call(listAuditEntries, { subject }, as)).entries).toEqual([]);
    }
    const everything = [
      toJson(listAgents.output, messageOf(await door.call(listAgents, {}, as))),
      toJson(listErrors.output, messageOf(await door.call(listErrors, {}, as))),
      toJson(listTokens.output, messageOf(await door.call(listTokens, {}, as))),
      toJson(listAuditEntries.output, messageOf(await door.call(listAuditEntries, {}, as))),
    ];
    const text = JSON.stringify(everything);
    for (const secret of [victim.name, victim.id, theirToken.id, theirs.name])
      expect(text).not.toContain(secret);
    const { projects } = messageOf(await door.call(listProjects, {}, as));
    expect(projects.map((project) => project.name)).toEqual([ours.name]);
  });

  test("a page token leads into no other project", async () => {
    const door = doors.door(name);
    await newAgent(doors, {}, theirs.operator);
    const page = messageOf(await door.call(listAgents, { pageSize: 1 }, { token: theirs.operator }));
    expect(page.nextPageToken).not.toBe("");
    const request = { pageSize: 1, pageToken: page.nextPageToken };
    const outcome = await door.call(listAgents, request, { token: ours.operator });
    if (outcome.ok) expect(outcome.message.agents.every((agent) => agent.name !== victim.name)).toBe(true);
  });

  test("the same name in two projects is two agents", async () => {
    const door = doors.door(name);
    const shared = uniqueName("twin");
    const [here, there] = [
      await newAgent(doors, { name: shared }, ours.operator),
      await newAgent(doors, { name: shared }, theirs.operator),
    ];
    expect(here.id).not.toBe(there.id);
    messageOf(await door.call(heartbeat, { status: AgentStatus.BUSY }, { token: here.token }));
    messageOf(
      await door.call(reportError, { severity: Severity.INFO, message: "here" }, { token: here.token }),
    );
    const seen = async (token: string) => {
      const { agent } = messageOf(await door.call(getAgent, { agent: shared }, { token }));
      return [agent?.id, agent?.status, Number(agent?.recentErrors?.count)];
    };
    expect(await seen(ours.operator)).toEqual([here.id, AgentStatus.BUSY, 1]);
    expect(await seen(theirs.operator)).toEqual([there.id, AgentStatus.PENDING, 0]);
  });

  test("only the server's own operator may speak for another project", async () => {
    const door = doors.door(name);
    const headers = { "x-drover-project": theirs.name };
    const own = await newAgent(doors, {}, ours.operator);
    const enrollment = await newToken(doors, { role: TokenRole.ENROLLMENT }, ours.operator);
    const attempts = [
      door.call(listAgents, {}, { token: ours.operator, headers }),
      door.call(heartbeat, { status: AgentStatus.ONLINE }, { token: own.token, headers }),
      door.call(enroll, { name: uniqueName("agent") }, { token: enrollment.secret, headers }),
    ];
    for (const attempt of attempts) expect(refusalOf(await attempt).code).toBe(Code.PermissionDenied);
    const token = doors.server.operatorToken;
    const { agents } = messageOf(
      await door.call(listAgents, { namePrefix: victim.name }, { token, headers }),
    );
    expect(agents.map((agent) => agent.id)).toContain(victim.id);
    messageOf(
      await door.call(listAgents, {}, { token: ours.operator, headers: { "x-drover-project": ours.name } }),
    );
  });

  test("a project that does not exist, or cannot, is said to be so", async () => {
    const door = doors.door(name);
    const token = doors.server.operatorToken;
    const named = (project: string) =>
      door.call(listAgents, {}, { token, headers: { "x-drover-project": project } });
    expect(refusalOf(await named("no-such-project")).code).toBe(Code.NotFound);
    for (const project of ["a/b", "..", "'; --", "x".repeat(129)]) {
      const refusal = refusalOf(await named(project));
      expect(refusal.code).toBe(Code.InvalidArgument);
      expect(refusal.violations.map(({ field }) => field)).toEqual(["x-drover-project"]);
    }
  });
});
