import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { TokenRole } from "../../gen/drover/v1/token_service_pb.js";
import { codeOf } from "../helpers/code-of.ts";
import { type EnrolledAgent, enrolledAgent, type OperatorApi } from "../helpers/fleet-api.ts";
import type { Stage } from "../helpers/stage.ts";

/** A project with an operator of its own, an agent whose name every project has, and a few rows of every kind. */
export interface Tenant {
  project: string;
  projectId: string;
  operator: OperatorApi;
  agent: EnrolledAgent;
  /** Id of a viewer's token, to be found and revoked by nobody else. */
  tokenId: string;
  /** Id of a task that its agent holds. */
  taskId: string;
  enrollmentToken: string;
  viewerToken: string;
  operatorToken: string;
}

export const SHARED_NAME = "same-name";

export async function createTenant(stage: Stage, project: string): Promise<Tenant> {
  const created = await stage.operator.projects.createProject({ name: project });
  const server = stage.fleet.operator(stage.operatorToken, project);
  const { secret: operatorToken } = await server.tokens.createToken({ role: TokenRole.OPERATOR });
  const operator = stage.fleet.operator(operatorToken);
  const viewer = await operator.tokens.createToken({ role: TokenRole.VIEWER, requestId: "viewer" });
  const enrollment = await operator.tokens.createToken({ role: TokenRole.ENROLLMENT, maxUses: 9 });
  const enrolling = stage.fleet.agent(enrollment.secret).enroll({ name: SHARED_NAME, nonce: "first" });
  const agent = enrolledAgent(await enrolling);
  const api = stage.fleet.agent(agent.token);
  const session = { bootId: "boot", sequence: 1n };
  const { task } = await operator.tasks.createTask({ kind: "hash", requestId: "task" });
  await api.heartbeat({
    status: AgentStatus.BUSY,
    session,
    error: { severity: Severity.FATAL, message: `of ${project}` },
  });
  await api.heartbeat({ status: AgentStatus.ONLINE, session: { bootId: "boot", sequence: 2n } });
  await api.claimTasks({ max: 1 });
  await api.reportError({ severity: Severity.MAJOR, message: `reported in ${project}`, requestId: "report" });
  return {
    project,
    projectId: created.project?.id.replace("project_", "") ?? "",
    operator,
    agent,
    tokenId: viewer.token?.id ?? "",
    taskId: task?.id ?? "",
    enrollmentToken: enrollment.secret,
    viewerToken: viewer.secret,
    operatorToken,
  };
}

/** All rows of a project as text, to be compared before and after. Uses of tokens are noted late and left out. */
export async function rowsOf({ sql }: Stage, { projectId }: Tenant): Promise<Record<string, string[]>> {
  const tables = await sql<{ name: string }[]>`
    SELECT table_name AS name FROM information_schema.columns
    WHERE table_schema = 'public' AND column_name = 'project_id' ORDER BY table_name`;
  const all: Record<string, string[]> = {};
  for (const { name } of tables) {
    const rows = await sql<{ row: string }[]>`
      SELECT (to_jsonb(t) - 'last_used_at')::text AS row FROM ${sql(name)} AS t WHERE project_id = ${projectId} ORDER BY 1`;
    all[name] = rows.map(({ row }) => row);
  }
  return all;
}

/** What one tenant does to reach into another's; what came of it that should not have, empty when all is well. */
export async function reachesInto(stage: Stage, own: Tenant, other: Tenant): Promise<string[]> {
  const problems: string[] = [];
  const { fleet, tokens, events, projects, tasks } = own.operator;
  const agent = stage.fleet.agent(own.agent.token);
  const foreign = stage.fleet.operator(own.operatorToken, other.project);
  const viewer = stage.fleet.operator(own.viewerToken);
  const foreignAgentId = `agent_${other.agent.uuid}`;
  const attempts: [string, () => Promise<unknown>, string][] = [
    ["GetToken", () => tokens.getToken({ token: other.tokenId }), "NotFound"],
    ["RevokeToken", () => tokens.revokeToken({ token: other.tokenId }), "NotFound"],
    [
      "RevokeToken with a request_id",
      () => tokens.revokeToken({ token: other.tokenId, requestId: "viewer" }),
      "NotFound",
    ],
    ["GetAgent by id", () => fleet.getAgent({ agent: foreignAgentId }), "NotFound"],
    ["ListAgentSessions by id", () => fleet.listAgentSessions({ agent: foreignAgentId }), "NotFound"],
    ["ResetAgent by id", () => fleet.resetAgent({ agent: foreignAgentId }), "NotFound"],
    ["RemoveAgent by id", () => fleet.removeAgent({ agent: foreignAgentId }), "NotFound"],
    ["the other's project in the metadata", () => foreign.fleet.listAgents({}), "PermissionDenied"],
    [
      "CreateToken in the other's project",
      () => foreign.tokens.createToken({ role: TokenRole.VIEWER }),
      "PermissionDenied",
    ],
    ["CreateProject", () => projects.createProject({ name: "third" }), "PermissionDenied"],
    ["GetTask", () => tasks.getTask({ task: other.taskId }), "NotFound"],
    ["CancelTask", () => tasks.cancelTask({ task: other.taskId }), "NotFound"],
    ["CompleteTask", () => agent.completeTask({ task: other.taskId, leaseEpoch: 1n }), "NotFound"],
    ["a viewer that resets", () => viewer.fleet.resetAgent({ agent: SHARED_NAME }), "PermissionDenied"],
    ["a viewer that lists tokens", () => viewer.tokens.listTokens({}), "PermissionDenied"],
  ];
  for (const [what, attempt, expected] of attempts) {
    const code = await codeOf(attempt());
    if (code !== expected) problems.push(`${what}: ${code}`);
  }
  const answers = [
    await fleet.listAgents({}),
    await fleet.getAgent({ agent: SHARED_NAME }),
    await fleet.listAgentSessions({ agent: SHARED_NAME }),
    await fleet.listErrors({}),
    await fleet.listErrors({ agent: foreignAgentId }),
    await fleet.listErrorGroups({}),
    await fleet.listErrorGroups({ agent: foreignAgentId }),
    await events.listAuditEntries({}),
    await events.listAuditEntries({ subject: foreignAgentId }),
    await events.listAuditEntries({ subject: other.tokenId }),
    await tokens.listTokens({}),
    await tokens.listTokens({ agent: SHARED_NAME }),
    await projects.listProjects({}),
    await tasks.listTasks({}),
    await tasks.createTask({ kind: "hash", requestId: "task" }),
    // One id in two projects stands for two requests.
    await tokens.createToken({ role: TokenRole.VIEWER, requestId: "viewer" }),
  ];
  const marks = [other.project, other.projectId, other.agent.uuid, other.tokenId, other.taskId];
  for (const answer of answers) {
    const text = JSON.stringify(answer, (_, value: unknown) =>
      typeof value === "bigint" ? String(value) : value,
    );
    for (const mark of marks) if (text.includes(mark)) problems.push(`${answer.$typeName} shows ${mark}`);
  }
  return problems;
}

/** Changes what is the tenant's own under names that the other tenant has as well. */
export async function changeOwn(stage: Stage, own: Tenant): Promise<void> {
  const api = stage.fleet.agent(own.agent.token);
  await api.heartbeat({
    status: AgentStatus.ONLINE,
    session: { bootId: "boot", sequence: 3n },
    labels: { zone: "own" },
    // Somebody's task, if anybody has one of that id: the link is dropped.
    currentTask: { taskId: "task_00000000-0000-7000-8000-000000000001", leaseEpoch: 1n, progress: 0.5 },
  });
  await api.heartbeat({ status: AgentStatus.ERROR, session: { bootId: "boot", sequence: 4n } });
  await own.operator.fleet.resetAgent({ agent: SHARED_NAME, requestId: "reset" });
  await stage.fleet.agent(own.enrollmentToken).enroll({ name: "another", nonce: "second" });
  await own.operator.fleet.removeAgent({ agent: SHARED_NAME });
  await stage.fleet.agent(own.enrollmentToken).enroll({ name: SHARED_NAME, nonce: "third" });
}
