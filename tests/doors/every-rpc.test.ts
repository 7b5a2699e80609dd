import type {
  DescMessage,
  DescMethodUnary,
  JsonValue,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { fromJson, toJson } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { afterAll, describe, expect, test } from "vitest";
import { AgentStatus, Cordon } from "../../gen/drover/v1/agent_pb.js";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { EventService } from "../../gen/drover/v1/event_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { PassService } from "../../gen/drover/v1/pass_service_pb.js";
import { ProjectService } from "../../gen/drover/v1/project_service_pb.js";
import { RunStatus } from "../../gen/drover/v1/run_pb.js";
import { AttemptOutcome, TaskState } from "../../gen/drover/v1/task_pb.js";
import { TaskService } from "../../gen/drover/v1/task_service_pb.js";
import { TokenRole, TokenService } from "../../gen/drover/v1/token_service_pb.js";
import { IssueState } from "../../gen/drover/v1/tracker_pb.js";
import { TrackerService } from "../../gen/drover/v1/tracker_service_pb.js";
import { UNARY_METHODS } from "../helpers/contract.ts";
import { type CallOptions, type DoorClient, messageOf, refusalOf } from "../helpers/door-client.ts";
import { DOORS, type DoorName, useDoors } from "../helpers/door-suite.ts";
import { startFakeGitHub } from "../helpers/fake-github.ts";
import { uniqueName } from "../helpers/fleet.ts";

const { enroll, heartbeat, reportError, rotateToken } = AgentService.method;
const { claimTasks, updateTask, completeTask, failTask, leave } = AgentService.method;
const { createTask, getTask, listTasks, cancelTask } = TaskService.method;
const { explainAgent } = FleetService.method;
const { batchCancelTasks, batchRetryTasks, batchCreateTasks, explainTask, listAttempts, retryTask } =
  TaskService.method;
const {
  getAgent,
  listAgents,
  listAgentSessions,
  listErrorGroups,
  listErrors,
  removeAgent,
  resetAgent,
  sendCommand,
  cordonAgent,
  uncordonAgent,
  drainAgent,
  batchCordonAgents,
  batchDrainAgents,
  batchUncordonAgents,
} = FleetService.method;
const { createToken, getToken, listTokens, revokeToken } = TokenService.method;
const { createProject, listProjects } = ProjectService.method;
const { runHeartbeatPass, listRuns, getRun } = PassService.method;
const { createTracker, getTracker, listTrackers, updateTracker, deleteTracker, listIssues } =
  TrackerService.method;
const { listAuditEntries, listEvents } = EventService.method;

const github = await startFakeGitHub();
afterAll(() => github.stop());
const doors = useDoors({ settings: { DROVER_TRACKER_ALLOWED_HOSTS: github.allowed } });

/**
 * The story of one project, told through one door: every answer in order, and in the end every row it left behind.
 * Ids, times and secrets are replaced by what they are, numbered in order of appearance, so that two doors that do the
 * same tell the same story.
 */
class Story {
  readonly answers: [string, JsonValue][] = [];
  readonly #door: DoorClient;

  constructor(door: DoorClient) {
    this.#door = door;
  }

  async tell<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    options: CallOptions,
  ): Promise<MessageShape<O>> {
    const message = messageOf(await this.#door.call(method, request, options));
    this.answers.push([method.name, toJson(method.output, message, { alwaysEmitImplicit: true })]);
    return message;
  }

  async tellRefusal<I extends DescMessage>(
    method: DescMethodUnary<I>,
    request: MessageInitShape<I>,
    options: CallOptions,
  ): Promise<Code> {
    const { code, message, violations, reason } = refusalOf(await this.#door.call(method, request, options));
    this.answers.push([method.name, { code, message, violations, reason: reason ?? "" }]);
    return code;
  }
}

function normalizer(project: string): (text: string) => string {
  const seen = new Map<string, number>();
  const numbered = (what: string) => {
    if (!seen.has(what)) seen.set(what, seen.size);
    return `#${seen.get(what)}`;
  };
  return (text) =>
    text
      .replaceAll(project, "PROJECT")
      .replace(/drv_([a-z]{3})_\w+/g, (token, role: string) => `SECRET ${role} ${numbered(token)}`)
      .replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, numbered)
      .replace(/\d{4}-\d\d-\d\d[T ][0-9:.]+(Z|\+00(:00)?)/g, "TIME")
      .replace(/"nextPageToken": ?"[^"]+"/g, '"nextPageToken":"PAGE"')
      .replace(/"duration": ?"[0-9.]+s"/g, '"duration":"SOME"')
      // Uses are noted late.
      .replace(/,"lastUsedAt": ?"[^"]*"/g, "")
      .replace(/"durationMs": ?[0-9]+/g, '"durationMs":0')
      .replace(/\\\\x[0-9a-f]{64}/g, "HASH");
}

async function rowsOf(project: string): Promise<string[]> {
  const rows: string[] = [];
  const tables = ["projects", "tokens", "agents", "agent_states", "agent_sessions", "heartbeat_effects"];
  const ofTasks = ["tasks", "task_attempts", "task_stale_results", "agent_commands"];
  for (const table of [
    ...tables,
    ...ofTasks,
    "runs",
    "trackers",
    "issues",
    "error_reports",
    "audit_entries",
    "enrollments",
  ]) {
    const key = table === "projects" ? "id" : "project_id";
    const statement = `SELECT (to_jsonb(t) - 'last_used_at')::text AS row FROM ${table} t
      WHERE ${key} = (SELECT id FROM projects WHERE name = '${project}')`;
    // A statement without values, so that the table can be named.
    const found = await doors.server.database<{ row: string }>(
      Object.assign([statement], { raw: [statement] }),
    );
    rows.push(...found.map(({ row }) => `${table} ${row}`));
  }
  return rows;
}

const json = (value: JsonValue) => fromJson(ValueSchema, value);

/** Four tasks: one succeeds, one fails, one is cancelled under its agent and one before it had any. */
async function tellOfTasks(story: Story, operator: CallOptions, agent: CallOptions): Promise<void> {
  const payload = json({ n: [1, 2.5, null, true], deep: { x: "é" } });
  const wish = { kind: "hash", payload, labels: { team: "a" }, timeout: { seconds: 60n }, requestId: "t-1" };
  const ids: string[] = [];
  for (const priority of [9, 8, 7, 0]) {
    const { task } = await story.tell(
      createTask,
      { ...wish, priority, requestId: `t-${priority}` },
      operator,
    );
    ids.push(task?.id ?? "");
  }
  const [done = "", failed = "", cancelled = "", waiting = ""] = ids;
  const { tasks } = await story.tell(claimTasks, { kinds: ["hash"], max: 3, wait: { seconds: 5n } }, agent);
  expect(tasks.map(({ id }) => id)).toEqual([done, failed, cancelled]);
  const lease = { leaseEpoch: 1n };
  const half = { ...lease, task: done, progress: 0.5, detail: "half", checkpoint: json({ at: [1, null] }) };
  expect((await story.tell(updateTask, half, agent)).lease?.epoch).toBe(1n);
  const { task } = await story.tell(
    completeTask,
    { ...lease, task: done, result: json([1, { a: null }]) },
    agent,
  );
  expect(task?.progress).toBe(1);
  await story.tell(completeTask, { ...lease, task: done }, agent);
  const error = { message: "password=hunter2 was refused", context: { apiKey: "k", tries: 2 } };
  await story.tell(failTask, { ...lease, task: failed, error, retryable: false }, agent);
  await story.tell(cancelTask, { task: cancelled, reason: "too late", requestId: "t-c" }, operator);
  await story.tell(cancelTask, { task: waiting }, operator);
  const late = { ...lease, task: cancelled, result: json("late") };
  expect(await story.tellRefusal(completeTask, late, agent)).toBe(Code.FailedPrecondition);
  expect(await story.tellRefusal(updateTask, { ...lease, task: waiting }, agent)).toBe(Code.NotFound);
  const shown = await story.tell(getTask, { task: cancelled }, operator);
  expect(shown.task?.staleResults).toHaveLength(1);
  const filter = { state: [TaskState.FAILED, TaskState.CANCELLED], kind: ["hash"], labels: ["team=a"] };
  expect((await story.tell(listTasks, { ...filter, orderBy: "created_at" }, operator)).tasks).toHaveLength(3);
  await story.tell(listTasks, { agent: "gpu-1", pageSize: 2 }, operator);
  const held = [{ taskId: done, leaseEpoch: 1n }];
  const beat = await story.tell(heartbeat, { status: AgentStatus.ONLINE, heldLeases: held }, agent);
  expect(beat.commands.map(({ taskId }) => taskId)).toEqual([cancelled]);
  expect(beat.leases.map(({ renewed }) => renewed)).toEqual([false]);
  const taken = { status: AgentStatus.BENCHMARKED, acknowledgedCommands: [1n] };
  expect((await story.tell(heartbeat, taken, agent)).commands).toEqual([]);
}

/** A tracker whose issue becomes a task and closes again, and the passes that see to it. */
async function tellOfPasses(story: Story, operator: CallOptions, agent: CallOptions): Promise<void> {
  const repository = "acme/story";
  const open = { number: 1, labels: ["help", "other"], title: "Nul\0 and \ud800" };
  github.put(repository, [open, { number: 2, pullRequest: true }]);
  const wish = { repository, baseUrl: github.url, requestId: "k-1" };
  const { tracker } = await story.tell(createTracker, wish, operator);
  const id = tracker?.id ?? "";
  const again = { repository: "ACME/story", baseUrl: github.url };
  expect(await story.tellRefusal(createTracker, again, operator)).toBe(Code.AlreadyExists);
  const inside = { repository, baseUrl: "https://169.254.169.254" };
  expect(await story.tellRefusal(createTracker, inside, operator)).toBe(Code.InvalidArgument);
  const secret = { tracker: id, credential: "env:DATABASE_URL" };
  expect(await story.tellRefusal(updateTracker, secret, operator)).toBe(Code.PermissionDenied);
  const rule = { label: "help", taskKind: "triage", priority: 7 };
  await story.tell(updateTracker, { tracker: id, rule, requestId: "k-2" }, operator);
  const body = { contentType: "text/plain", data: Buffer.from("{ broken") };
  const first = await story.tell(runHeartbeatPass, { agentName: "gpu-1", ignoredBody: body }, agent);
  expect([first.status, first.touchedIssueUrls.length]).toEqual([RunStatus.OK, 1]);
  expect(await story.tellRefusal(runHeartbeatPass, { agentName: "gpu-2" }, agent)).toBe(
    Code.PermissionDenied,
  );
  expect(await story.tellRefusal(runHeartbeatPass, { agentName: "a b" }, operator)).toBe(
    Code.InvalidArgument,
  );
  const { tasks } = await story.tell(listTasks, { kind: ["triage"] }, operator);
  expect(tasks.map(({ state, priority }) => [state, priority])).toEqual([[TaskState.PENDING, 7]]);
  github.put(repository, [{ ...open, state: "closed", updatedAt: "2024-02-01T00:00:00Z" }]);
  await story.tell(runHeartbeatPass, { agentName: "nobody" }, operator);
  const cancelled = await story.tell(listTasks, { kind: ["triage"] }, operator);
  expect(cancelled.tasks.map(({ state }) => state)).toEqual([TaskState.CANCELLED]);
  const filter = { tracker: id, state: [IssueState.CLOSED], labels: ["help"] };
  expect((await story.tell(listIssues, filter, operator)).issues).toHaveLength(1);
  await story.tell(updateTracker, { tracker: id, disabled: true, noRule: true }, operator);
  const failed = await story.tell(runHeartbeatPass, { agentName: "nobody" }, operator);
  expect(failed.status).toBe(RunStatus.ERROR);
  const { runs } = await story.tell(listRuns, { status: [RunStatus.OK], orderBy: "started_at" }, operator);
  expect(runs.map(({ agentName }) => agentName)).toEqual(["gpu-1", "nobody"]);
  await story.tell(getRun, { run: failed.runId }, operator);
  await story.tell(getTracker, { tracker: id }, operator);
  expect((await story.tell(listTrackers, {}, operator)).trackers).toHaveLength(1);
  await story.tell(createTracker, { repository: "acme/other", disabled: true }, operator);
  await story.tell(deleteTracker, { tracker: id, requestId: "k-3" }, operator);
  expect(await story.tellRefusal(getTracker, { tracker: id }, operator)).toBe(Code.NotFound);
}

/** Tasks that not every agent may run, and one that is tried anew. */
async function tellOfRequirements(story: Story, operator: CallOptions, agent: CallOptions): Promise<void> {
  const needs = { requiredCapabilities: ["cuda"], requiredLabels: { zone: "moon" } };
  const requests = [
    { kind: "picky", payload: json({ n: 1 }), ...needs },
    { kind: "picky", notBefore: { seconds: 4_000_000_000n, nanos: 5_000 }, priority: 9 },
    { kind: "picky", requiredCapabilities: ["cuda"] },
  ];
  const batch = { requests, requestId: "b-1" };
  const { tasks } = await story.tell(batchCreateTasks, batch, operator);
  expect((await story.tell(batchCreateTasks, batch, operator)).tasks.map(({ id }) => id)).toEqual(
    tasks.map(({ id }) => id),
  );
  expect(tasks[0]).toMatchObject({ kind: "picky", ...needs });
  expect(tasks[1]).toMatchObject({
    notBefore: requests[1]?.notBefore,
    nextAttemptAt: requests[1]?.notBefore,
  });
  const named = { requests: [{ kind: "picky", requestId: "mine" }] };
  expect(await story.tellRefusal(batchCreateTasks, named, operator)).toBe(Code.InvalidArgument);
  const { explanation } = await story.tell(explainTask, { task: tasks[0]?.id ?? "" }, operator);
  expect(explanation?.reasons[0]?.code).toBe("NO_MATCHING_AGENT");
  expect(await story.tellRefusal(explainTask, { task: NOBODY }, operator)).toBe(Code.NotFound);
  const idle = await story.tell(explainAgent, { agent: "gpu-1" }, operator);
  expect(idle.explanation?.reasons.map(({ code }) => code)).toEqual(["NOT_ASKING"]);
  expect(await story.tellRefusal(explainAgent, { agent: "no-such" }, operator)).toBe(Code.NotFound);
  const claimed = await story.tell(claimTasks, { kinds: ["picky"], max: 3 }, agent);
  const task = tasks[2]?.id ?? "";
  expect(claimed.tasks.map(({ id }) => id)).toEqual([task]);
  expect(await story.tellRefusal(retryTask, { task }, operator)).toBe(Code.FailedPrecondition);
  const failure = { task, leaseEpoch: 1n, error: { message: "no" }, retryable: false };
  await story.tell(failTask, failure, agent);
  const retried = await story.tell(retryTask, { task, reason: "again", requestId: "b-2" }, operator);
  expect(retried.task).toMatchObject({ state: TaskState.PENDING, attempt: 1 });
  const again = await story.tell(claimTasks, { kinds: ["picky"], max: 3 }, agent);
  expect(again.tasks.map(({ attempt }) => attempt)).toEqual([2]);
  const { attempts } = await story.tell(listAttempts, { task, orderBy: "number desc" }, operator);
  expect(attempts.map(({ number, outcome }) => [number, outcome])).toEqual([
    [2, undefined],
    [1, AttemptOutcome.FAILED],
  ]);
  await story.tell(completeTask, { task, leaseEpoch: 2n }, agent);
  const page = await story.tell(listAttempts, { task, pageSize: 1 }, operator);
  const rest = { task, pageSize: 1, pageToken: page.nextPageToken };
  expect((await story.tell(listAttempts, rest, operator)).attempts.map(({ number }) => number)).toEqual([2]);
  expect(await story.tellRefusal(retryTask, { task }, operator)).toBe(Code.FailedPrecondition);
  expect(await story.tellRefusal(listAttempts, { task: NOBODY }, operator)).toBe(Code.NotFound);
}

/** What is done to everything that a filter finds. */
async function tellOfBatches(story: Story, operator: CallOptions): Promise<void> {
  expect(await story.tellRefusal(batchCancelTasks, { reason: "all" }, operator)).toBe(Code.InvalidArgument);
  expect(await story.tellRefusal(batchCordonAgents, {}, operator)).toBe(Code.InvalidArgument);
  const ended = { kind: ["picky"], state: [TaskState.SUCCEEDED] };
  expect(await story.tellRefusal(batchCancelTasks, ended, operator)).toBe(Code.InvalidArgument);
  const requests = [1, 2, 3].map((priority) => ({ kind: "many", priority }));
  const { tasks } = await story.tell(batchCreateTasks, { requests }, operator);
  const few = { kind: ["many"], limit: 2, reason: "too many", requestId: "m-1" };
  const cancelled = await story.tell(batchCancelTasks, few, operator);
  expect(cancelled.more).toBe(true);
  expect(cancelled.tasks).toHaveLength(2);
  expect((await story.tell(batchCancelTasks, few, operator)).tasks).toHaveLength(2);
  const rest = await story.tell(batchCancelTasks, { ...few, requestId: "m-2" }, operator);
  expect([...cancelled.tasks, ...rest.tasks].map(({ id }) => id).sort()).toEqual(
    tasks.map(({ id }) => id).sort(),
  );
  expect(rest.more).toBe(false);
  expect((await story.tell(batchRetryTasks, { kind: ["many"] }, operator)).tasks).toEqual([]);
  const wanted = { kind: ["many"], state: [TaskState.CANCELLED], requestId: "m-3" };
  const retried = await story.tell(batchRetryTasks, wanted, operator);
  expect(retried.tasks.map(({ state }) => state)).toEqual(Array(3).fill(TaskState.PENDING));
  await story.tell(batchCancelTasks, { agent: "no-such", all: true }, operator);
  await story.tell(batchCancelTasks, { all: true, kind: ["many"] }, operator);
  // It holds a task still, so that the sweep does not end the drain.
  const gpu = { namePrefix: "gpu-1", labels: ["owner=you"], reason: "power cut", requestId: "m-4" };
  const drained = await story.tell(batchDrainAgents, { ...gpu, deadline: { seconds: 600n } }, operator);
  expect(drained.agents.map(({ cordon }) => cordon)).toEqual([Cordon.DRAINING]);
  const gpus = { namePrefix: "gpu-", reason: "power cut", requestId: "m-5" };
  const first = await story.tell(batchCordonAgents, { ...gpus, limit: 1 }, operator);
  expect([first.agents.map(({ name }) => name), first.more]).toEqual([["gpu-1"], true]);
  await story.tell(batchCordonAgents, { ...gpus, requestId: "m-6" }, operator);
  const open = await story.tell(batchUncordonAgents, { all: true, reason: "power is back" }, operator);
  expect(open.agents.map(({ cordon }) => cordon)).toEqual([Cordon.NONE, Cordon.NONE]);
}

const NOBODY = "task_01920000-0000-7000-8000-000000000002";

async function tellStory(name: DoorName): Promise<{ answers: unknown; rows: string[]; called: Set<string> }> {
  const story = new Story(doors.door(name));
  const project = uniqueName("project");
  const server: CallOptions = { token: doors.server.operatorToken };
  const there: CallOptions = { ...server, headers: { "x-drover-project": project } };

  const made = await story.tell(createProject, { name: project, requestId: `made-${project}` }, server);
  expect(made.project?.name).toBe(project);
  expect(await story.tellRefusal(createProject, { name: project }, server)).toBe(Code.AlreadyExists);
  const operator: CallOptions = {
    token: (await story.tell(createToken, { role: TokenRole.OPERATOR }, there)).secret,
  };
  const { projects } = await story.tell(listProjects, {}, operator);
  expect(projects.map((each) => each.name)).toEqual([project]);

  const wish = {
    role: TokenRole.ENROLLMENT,
    maxUses: 2,
    labels: { zone: "a" },
    ttl: { seconds: 600n, nanos: 5e8 },
  };
  const enrollment = await story.tell(createToken, wish, operator);
  const viewer = await story.tell(createToken, { role: TokenRole.VIEWER, ttl: { seconds: 60n } }, operator);
  await story.tell(createToken, { role: TokenRole.RUNNER, labels: {} }, operator);
  await story.tell(getToken, { token: viewer.token?.id ?? "" }, operator);
  const first = await story.tell(listTokens, { pageSize: 3, orderBy: "created_at" }, operator);
  expect(first.tokens).toHaveLength(3);
  const rest = { pageSize: 3, pageToken: first.nextPageToken, orderBy: "created_at" };
  expect((await story.tell(listTokens, rest, operator)).tokens).toHaveLength(1);
  await story.tell(listTokens, { role: [TokenRole.VIEWER, TokenRole.RUNNER] }, operator);

  const one = await story.tell(
    enroll,
    {
      name: "gpu-1",
      nonce: "n-1",
      labels: { owner: "me", zone: "b" },
      capabilities: ["cuda", "fp16"],
      deviceInfo: { os: "linux", cores: 8, disks: [{ gb: 1.5 }, null, true], empty: {} },
    },
    { token: enrollment.secret },
  );
  expect(one.agent?.labels).toEqual({ owner: "me", zone: "a" });
  await story.tell(enroll, { name: "gpu-2" }, { token: enrollment.secret });
  expect(await story.tellRefusal(enroll, { name: "gpu-3" }, { token: enrollment.secret })).toBe(
    Code.Unauthenticated,
  );

  const agent: CallOptions = { token: one.secret };
  const session = (sequence: bigint) => ({ bootId: "boot-1", sequence });
  const busy = await story.tell(
    heartbeat,
    {
      status: AgentStatus.BUSY,
      currentTask: { taskId: "task_none", leaseEpoch: 3n, progress: 0.25, detail: "a quarter" },
      error: { severity: Severity.WARNING, message: "80 °C", context: { sensor: 3, at: ["a", { b: null }] } },
      capabilities: ["cuda"],
      deviceInfo: { os: "linux" },
      labels: { owner: "you" },
      gauges: { hashrate: 1.5e9, fans: 0 },
      session: session(1n),
    },
    agent,
  );
  expect([busy.acknowledged, busy.agentStatus, busy.duplicate]).toEqual([true, AgentStatus.BUSY, false]);
  const fatal = { severity: Severity.FATAL, message: "gone" };
  const failed = { status: AgentStatus.BUSY, error: fatal, session: session(2n) };
  expect((await story.tell(heartbeat, failed, agent)).agentStatus).toBe(AgentStatus.ERROR);
  expect((await story.tell(heartbeat, failed, agent)).duplicate).toBe(true);
  const report = {
    severity: Severity.CRITICAL,
    message: "worker 17 died",
    context: { code: 137 },
    requestId: "r-2",
  };
  await story.tell(reportError, { ...report, taskId: "task_none" }, agent);

  expect((await story.tell(listErrors, {}, operator)).errors).toHaveLength(3);
  await story.tell(
    listErrors,
    { agent: "gpu-1", severity: [Severity.FATAL, Severity.WARNING], pageSize: 1 },
    operator,
  );
  await story.tell(listErrors, { since: { seconds: 4_000_000_000n }, orderBy: "created_at" }, operator);
  expect((await story.tell(listErrorGroups, { agent: "gpu-1" }, operator)).errorGroups).toHaveLength(3);
  const seen = await story.tell(getAgent, { agent: "gpu-1" }, { token: viewer.secret });
  expect(seen.agent?.status).toBe(AgentStatus.ERROR);
  await story.tell(
    listAgents,
    { status: [AgentStatus.ERROR], labels: ["owner=you"], orderBy: "name desc" },
    operator,
  );
  await story.tell(listAgents, { pageSize: 1, orderBy: "created_at" }, operator);
  await story.tell(resetAgent, { agent: "gpu-1", requestId: "r-3" }, operator);
  const cordoned = { agent: "gpu-2", reason: "a new fan", requestId: "r-8" };
  expect((await story.tell(cordonAgent, cordoned, operator)).agent?.cordon).toBe(Cordon.CORDONED);
  await story.tell(cordonAgent, { agent: "gpu-2" }, operator);
  await story.tell(listAgents, { cordon: [Cordon.CORDONED] }, operator);
  await story.tell(uncordonAgent, { agent: "gpu-2", requestId: "r-9" }, operator);
  const told = { agent: "gpu-2", kind: "reportFullState", reason: "new labels", requestId: "r-7" };
  expect((await story.tell(sendCommand, told, operator)).command?.sequence).toBe(3n);
  expect(await story.tellRefusal(sendCommand, { ...told, kind: "dance" }, operator)).toBe(
    Code.InvalidArgument,
  );
  await story.tell(heartbeat, { status: AgentStatus.BENCHMARKED, session: session(3n) }, agent);
  await tellOfTasks(story, operator, agent);
  await tellOfPasses(story, operator, agent);
  await tellOfRequirements(story, operator, agent);
  const { secret } = await story.tell(rotateToken, { requestId: "r-4" }, agent);
  await story.tell(heartbeat, { status: AgentStatus.ONLINE, session: session(4n) }, { token: secret });
  expect(await story.tellRefusal(heartbeat, { status: AgentStatus.ONLINE }, agent)).toBe(
    Code.Unauthenticated,
  );
  const other = { bootId: "after-a-restart", sequence: 1n };
  await story.tell(heartbeat, { status: AgentStatus.ONLINE, session: other }, { token: secret });
  const runs = await story.tell(listAgentSessions, { agent: "gpu-1", pageSize: 1 }, operator);
  expect(runs.sessions.map(({ bootId, current }) => [bootId, current])).toEqual([["after-a-restart", true]]);
  const older = { agent: "gpu-1", pageSize: 1, pageToken: runs.nextPageToken };
  expect((await story.tell(listAgentSessions, older, operator)).sessions[0]?.epoch).toBe(1n);
  expect(await story.tellRefusal(listAgentSessions, { agent: "no-such" }, operator)).toBe(Code.NotFound);
  await story.tell(createTask, { kind: "left" }, operator);
  await story.tell(claimTasks, { kinds: ["left"] }, { token: secret });
  // It holds a task, so that the sweep has no end of the drain to tell of.
  const drain = { agent: "gpu-1", deadline: { seconds: 3600n }, reason: "enough" };
  expect((await story.tell(drainAgent, drain, operator)).agent?.cordonReason).toBe("enough");
  await story.tell(uncordonAgent, { agent: "gpu-1" }, operator);
  await tellOfBatches(story, operator);
  await story.tell(leave, { requestId: "r-l" }, { token: secret });
  const left = await story.tell(listTasks, { kind: ["left"] }, operator);
  expect(left.tasks.map(({ state, losses }) => [state, losses])).toEqual([[TaskState.PENDING, 0]]);
  await story.tell(revokeToken, { token: viewer.token?.id ?? "", requestId: "r-5" }, operator);
  await story.tell(getToken, { token: viewer.token?.id ?? "" }, operator);
  await story.tell(removeAgent, { agent: "gpu-1", requestId: "r-6" }, operator);
  expect(await story.tellRefusal(getAgent, { agent: "gpu-1" }, operator)).toBe(Code.NotFound);
  expect((await story.tell(listErrors, { agent: one.agent?.id ?? "" }, operator)).errors).toHaveLength(3);
  const { events } = await story.tell(listEvents, { pageSize: 1000 }, operator);
  expect(events.map(({ type }) => type)).toContain("task.requeued");
  const ofAgent = { types: ["agent.*"], agents: ["gpu-1"], orderBy: "time desc", pageSize: 2 };
  await story.tell(listEvents, ofAgent, operator);
  expect(await story.tellRefusal(listEvents, { after: "other.1" }, operator)).toBe(Code.OutOfRange);
  const audit = await story.tell(listAuditEntries, { pageSize: 1000, orderBy: "time" }, operator);
  expect(audit.entries.length).toBeGreaterThan(15);
  await story.tell(
    listAuditEntries,
    { field: "status", action: ["agent.status_changed"], pageSize: 2 },
    operator,
  );

  const normalize = normalizer(project);
  const answers: unknown = JSON.parse(normalize(JSON.stringify(story.answers)));
  // Ids rise with time, so that they order what happened; what they are is left out afterwards.
  const rows = (await rowsOf(project)).sort().map(normalize);
  return { answers, rows: rows.sort(), called: new Set(story.answers.map(([method]) => method)) };
}

describe("the story of one project", () => {
  const reference = { told: undefined as Awaited<ReturnType<typeof tellStory>> | undefined };

  test.each(DOORS)("is the same through %s", async (name) => {
    const told = await tellStory(name);
    reference.told ??= told;
    expect(told.answers).toEqual(reference.told.answers);
    expect(told.rows).toEqual(reference.told.rows);
    expect(told.rows.length).toBeGreaterThan(25);
  });

  test("has every RPC in it", () => {
    const missing = UNARY_METHODS.filter(({ name }) => !reference.told?.called.has(name));
    expect(missing.map(({ name }) => name)).toEqual([]);
  });
});
