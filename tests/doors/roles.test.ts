import type { DescMethodUnary } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { beforeAll, describe, expect, test } from "vitest";
import { ProjectService } from "../../gen/drover/v1/project_service_pb.js";
import { TokenRole } from "../../gen/drover/v1/token_service_pb.js";
import type { Role } from "../../src/identity/caller.ts";
import { policyOf } from "../../src/rpc/method-policy.ts";
import { SERVICES, sampleRequest, UNARY_METHODS } from "../helpers/contract.ts";
import { refusalOf } from "../helpers/door-client.ts";
import { DOORS, useDoors } from "../helpers/door-suite.ts";
import { newAgent, newProject, newToken, type TestAgent, uniqueName } from "../helpers/fleet.ts";

const ROLES = ["agent", "runner", "enrollment", "operator", "viewer"] as const satisfies readonly Role[];

/** Who may call what, as the product says it; beside the server's own table, so that a slip in that shows here. */
const allowed: Readonly<Record<string, readonly Role[]>> = {
  Enroll: ["enrollment"],
  Heartbeat: ["agent"],
  ReportError: ["agent"],
  RotateToken: ["agent"],
  ClaimTasks: ["agent"],
  UpdateTask: ["agent"],
  CompleteTask: ["agent"],
  FailTask: ["agent"],
  Leave: ["agent"],
  Session: ["agent"],
  WatchCommands: ["agent"],
  ListAgents: ["viewer", "operator"],
  GetAgent: ["viewer", "operator"],
  ResetAgent: ["operator"],
  RemoveAgent: ["operator"],
  CordonAgent: ["operator"],
  UncordonAgent: ["operator"],
  DrainAgent: ["operator"],
  BatchCordonAgents: ["operator"],
  BatchUncordonAgents: ["operator"],
  BatchDrainAgents: ["operator"],
  SendCommand: ["operator"],
  ListErrors: ["viewer", "operator"],
  ListErrorGroups: ["viewer", "operator"],
  CreateTask: ["operator"],
  BatchCreateTasks: ["operator"],
  BatchCancelTasks: ["operator"],
  BatchRetryTasks: ["operator"],
  ExplainTask: ["viewer", "operator"],
  ExplainAgent: ["viewer", "operator"],
  ListAgentSessions: ["viewer", "operator"],
  ListAttempts: ["viewer", "operator"],
  RetryTask: ["operator"],
  GetTask: ["viewer", "operator"],
  ListTasks: ["viewer", "operator"],
  CancelTask: ["operator"],
  WatchEvents: ["viewer", "operator"],
  ListEvents: ["viewer", "operator"],
  ListAuditEntries: ["viewer", "operator"],
  ExportAuditEntries: ["viewer", "operator"],
  CreateToken: ["operator"],
  ListTokens: ["operator"],
  GetToken: ["operator"],
  RevokeToken: ["operator"],
  CreateProject: ["operator"],
  ListProjects: ["operator"],
  RunHeartbeatPass: ["agent", "runner", "operator"],
  ListRuns: ["viewer", "operator"],
  GetRun: ["viewer", "operator"],
  CreateTracker: ["operator"],
  GetTracker: ["viewer", "operator"],
  ListTrackers: ["viewer", "operator"],
  UpdateTracker: ["operator"],
  DeleteTracker: ["operator"],
  ListIssues: ["viewer", "operator"],
};

const doors = useDoors();
let tokens: Record<Role, string>;
let agent: TestAgent;

beforeAll(async () => {
  const secretOf = async (role: TokenRole, maxUses = 0) => (await newToken(doors, { role, maxUses })).secret;
  agent = await newAgent(doors);
  tokens = {
    agent: agent.token,
    runner: await secretOf(TokenRole.RUNNER),
    enrollment: await secretOf(TokenRole.ENROLLMENT, 1000),
    operator: doors.server.operatorToken,
    viewer: await secretOf(TokenRole.VIEWER),
  };
});

const nameOf = ({ parent, name }: DescMethodUnary) => `${parent.name}.${name}`;

test("the policy names every method of the contract, and the roles that the product says", () => {
  for (const { methods } of SERVICES) {
    for (const method of methods) {
      const policy = policyOf(method);
      expect([method.name, [...(policy?.roles ?? [])].sort()]).toEqual([
        method.name,
        [...(allowed[method.name] ?? [])].sort(),
      ]);
    }
  }
});

describe.each(DOORS)("%s", (name) => {
  test.each(UNARY_METHODS.map((method) => ({ method, title: nameOf(method) })))(
    "$title is open to its roles alone",
    async ({ method }) => {
      for (const role of ROLES) {
        // An agent may have passes run for its own name alone.
        const isOwn = role === "agent" && method.name === "RunHeartbeatPass";
        const request = sampleRequest(method, isOwn ? agent.name : uniqueName("nobody"));
        const outcome = await doors.door(name).call(method, request, { token: tokens[role] });
        const code = outcome.ok ? 0 : outcome.code;
        if (allowed[method.name]?.includes(role)) {
          // What is named may not exist; that is an answer too.
          expect([role, code]).toEqual([role, code === Code.NotFound ? code : 0]);
        } else {
          const refusal = refusalOf(outcome);
          expect([role, refusal.code]).toEqual([role, Code.PermissionDenied]);
          expect(refusal.message).toBe(`a token of role ${role} may not call ${method.name}`);
          if (refusal.httpStatus !== undefined) expect(refusal.httpStatus).toBe(403);
        }
      }
    },
  );

  test("an operator of one project makes no other", async () => {
    const { operator } = await newProject(doors);
    const request = { name: uniqueName("project") };
    const call = doors.door(name).call(ProjectService.method.createProject, request, { token: operator });
    expect(refusalOf(await call).code).toBe(Code.PermissionDenied);
    const rows = await doors.server.database`SELECT name FROM projects WHERE name = ${request.name}`;
    expect(rows).toEqual([]);
  });
});
