import { type JsonValue, type MessageInitShape, toJson } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { type Task, TaskState } from "../../gen/drover/v1/task_pb.js";
import { type CreateTaskRequestSchema, TaskService } from "../../gen/drover/v1/task_service_pb.js";
import { messageOf } from "../helpers/door-client.ts";
import { useDoors } from "../helpers/door-suite.ts";
import { newAgent, uniqueName } from "../helpers/fleet.ts";
import { AGENT_WAYS, type AgentVoice, voiceOf } from "./agent-ways.ts";

const { completeTask, failTask, heartbeat, updateTask } = AgentService.method;
const { cancelTask, createTask, getTask } = TaskService.method;

const doors = useDoors({ settings: { DROVER_RETRY_BACKOFF: "1ms", DROVER_RETRY_BACKOFF_MAX: "1ms" } });

describe.each(AGENT_WAYS)("%s", (way) => {
  let voice: AgentVoice;
  let agent: string;
  let agentToken: string;
  let kind: string;

  beforeEach(async () => {
    const enrolled = await newAgent(doors);
    agent = enrolled.name;
    agentToken = enrolled.token;
    kind = uniqueName("kind");
    voice = await voiceOf(doors, way, enrolled.token);
    await voice.tell(heartbeat, { status: AgentStatus.ONLINE });
  });
  afterEach(() => voice?.close());

  const operator = () => ({ token: doors.server.operatorToken });
  const create = async (
    wish: Omit<MessageInitShape<typeof CreateTaskRequestSchema>, "kind" | "$typeName"> = {},
  ) => {
    const { task } = messageOf(await doors.anyDoor.call(createTask, { kind, ...wish }, operator()));
    return task?.id ?? "";
  };
  const show = async (task: string): Promise<Task> => {
    const shown = messageOf(await doors.anyDoor.call(getTask, { task }, operator()));
    if (shown.task === undefined) throw new Error("no task was shown");
    return shown.task;
  };
  /** Gets the one task that waits, and what names its loan. */
  const take = async () => {
    const [task] = await voice.take(kind, 1);
    return { task: task?.id ?? "", leaseEpoch: task?.lease?.epoch ?? 0n };
  };

  test("a task goes from its creation to its result", async () => {
    const payload = { kind: { case: "stringValue" as const, value: "in" } };
    const id = await create({ payload, priority: 7 });
    const [task] = await voice.take(kind, 1);
    expect(task).toMatchObject({
      id,
      kind,
      payload,
      priority: 7,
      attempt: 1,
      agent,
      state: TaskState.LEASED,
      lease: { epoch: 1n, remaining: { seconds: 60n, nanos: 0 } },
    });
    const loan = { task: id, leaseEpoch: 1n };
    const updated = await voice.tell(updateTask, { ...loan, progress: 0.5, detail: "half" });
    expect(updated.lease).toMatchObject({ epoch: 1n, remaining: { seconds: 60n } });
    expect(await show(id)).toMatchObject({ state: TaskState.RUNNING, progress: 0.5, detail: "half" });

    const beat = await voice.tell(heartbeat, {
      status: AgentStatus.BUSY,
      currentTask: { taskId: id, leaseEpoch: 1n, progress: 0.75 },
      heldLeases: [{ taskId: id, leaseEpoch: 2n }],
    });
    expect(beat.leases).toMatchObject([
      { taskId: id, leaseEpoch: 1n, renewed: true, remaining: { seconds: 60n } },
      { taskId: id, leaseEpoch: 2n, renewed: false },
    ]);

    const result = { kind: { case: "stringValue" as const, value: "out" } };
    const late = { ...loan, leaseEpoch: 2n };
    const lost = { code: Code.FailedPrecondition, reason: "LEASE_LOST" };
    expect(await voice.tellRefused(updateTask, late)).toEqual(lost);
    expect(await voice.tellRefused(completeTask, { ...late, result })).toEqual(lost);
    const first = await voice.tell(completeTask, { ...loan, result });
    expect(first.task).toMatchObject({ id, state: TaskState.SUCCEEDED, result, progress: 1 });
    expect(await voice.tell(completeTask, { ...loan, result })).toEqual(first);
    const shown = await show(id);
    expect(shown).toMatchObject({ state: TaskState.SUCCEEDED, agent, attempt: 1, retries: 0, losses: 0 });
    expect(jsonOf(shown)).toBe("out");
    expect(shown.staleResults).toMatchObject([{ agent, leaseEpoch: 2n, kind: "complete", result }]);
  });

  test("a task that fails is tried again while it may be, without its secrets", async () => {
    const id = await create({ maxRetries: 1 });
    const error = { message: "broke", context: { password: "hunter2", code: 3 } };
    const failed = await voice.tell(failTask, { ...(await take()), error });
    expect(failed.task).toMatchObject({ id, state: TaskState.PENDING, retries: 1, attempt: 1 });
    expect(failed.task?.error?.context).toEqual({ password: "[REDACTED]", code: 3 });
    const loan = await take();
    expect(loan).toEqual({ task: id, leaseEpoch: 2n });
    const last = await voice.tell(failTask, { ...loan, error });
    expect(last.task).toMatchObject({ state: TaskState.FAILED, retries: 1, attempt: 2 });

    await create();
    const forGood = await voice.tell(failTask, { ...(await take()), error, retryable: false });
    expect(forGood.task).toMatchObject({ state: TaskState.FAILED, retries: 0, attempt: 1 });
  });

  test("where an agent left off, the next attempt begins", async () => {
    const id = await create();
    const checkpoint = { kind: { case: "stringValue" as const, value: "line 7" } };
    await voice.tell(updateTask, { ...(await take()), checkpoint });
    const report = { taskId: id, leaseEpoch: 1n, progress: 0.5 };
    await voice.tell(heartbeat, { status: AgentStatus.BUSY, currentTask: report });
    await voice.tell(failTask, { task: id, leaseEpoch: 1n, error: { message: "broke" } });
    expect(await voice.take(kind, 1)).toMatchObject([{ id, attempt: 2, checkpoint }]);
    const further = { kind: { case: "stringValue" as const, value: "line 9" } };
    const beat = { taskId: id, leaseEpoch: 2n, checkpoint: further };
    await voice.tell(heartbeat, { status: AgentStatus.BUSY, currentTask: beat });
    expect((await show(id)).checkpoint).toMatchObject(further);
  });

  test("only an agent that has what a task requires gets it", async () => {
    const needs = { requiredCapabilities: ["cuda"], requiredLabels: { zone: "a" } };
    const [picky, easy] = [await create({ ...needs, priority: 9 }), await create()];
    expect(await voice.take(kind, 1)).toMatchObject([{ id: easy }]);
    const waiting = voice.take(kind, 1);
    const profile = { capabilities: ["fp16", "cuda"], labels: { zone: "a" } };
    messageOf(
      await doors.anyDoor.call(heartbeat, { status: AgentStatus.ONLINE, ...profile }, { token: agentToken }),
    );
    expect(await waiting).toMatchObject([{ id: picky, ...needs }]);
  });

  test("the agent of a cancelled task is told to stop, until it says that it knows", async () => {
    const id = await create();
    const loan = await take();
    const cancel = { task: id, reason: "not needed" };
    messageOf(await doors.anyDoor.call(cancelTask, cancel, operator()));
    const command = await voice.nextCommand();
    expect(command).toMatchObject({ kind: "cancelTask", taskId: id, reason: "not needed" });
    expect(await voice.tellRefused(completeTask, loan)).toEqual({
      code: Code.FailedPrecondition,
      reason: "LEASE_LOST",
    });
    const unheard = await voice.tell(heartbeat, { status: AgentStatus.ONLINE });
    expect(unheard.commands).toEqual([command]);
    const acknowledgedCommands = [command?.sequence ?? 0n];
    const heard = await voice.tell(heartbeat, { status: AgentStatus.ONLINE, acknowledgedCommands });
    expect(heard.commands).toEqual([]);
    expect((await show(id)).state).toBe(TaskState.CANCELLED);
  });

  test("a fatal error fails every task of its agent over, and nothing else is taken from it", async () => {
    const [again, last] = [await create(), await create({ maxRetries: 0 })];
    const [one, other] = await voice.take(kind, 2);
    if (one?.lease === undefined || other?.lease === undefined) throw new Error("two tasks were waiting");
    expect([one.id, other.id]).toEqual([again, last]);
    const error = { severity: Severity.FATAL, message: "the disk is gone" };
    const failed = await voice.tell(heartbeat, { status: AgentStatus.BUSY, error });
    expect(failed).toMatchObject({
      agentStatus: AgentStatus.ERROR,
      taskFailures: { attempted: 2, requeued: 1, failed: 1 },
    });
    expect(await show(again)).toMatchObject({ state: TaskState.PENDING, retries: 1, losses: 0 });
    expect(await show(last)).toMatchObject({ state: TaskState.FAILED, retries: 0, losses: 0 });

    const inError = { code: Code.FailedPrecondition, reason: "AGENT_IN_ERROR" };
    const loan = { task: one.id, leaseEpoch: one.lease.epoch };
    expect(await voice.tellRefused(updateTask, loan)).toEqual(inError);
    expect(await voice.tellRefused(completeTask, loan)).toEqual(inError);
    expect(await voice.tellRefused(failTask, { ...loan, error: { message: "so" } })).toEqual(inError);
    await voice.tell(heartbeat, { status: AgentStatus.ONLINE });
    expect(await voice.tellRefused(updateTask, loan)).toEqual({ ...inError, reason: "LEASE_LOST" });
    expect(await voice.take(kind, 1)).toMatchObject([{ id: again, attempt: 2, lease: { epoch: 2n } }]);
  });

  test("a task that is no agent's of this kind is not found", async () => {
    const other = await newAgent(doors);
    const id = await create();
    const theirs = await voiceOf(doors, "REST", other.token);
    await theirs.take(kind, 1);
    const loan = { task: id, leaseEpoch: 1n };
    const notFound = { code: Code.NotFound, reason: "" };
    expect(await voice.tellRefused(updateTask, loan)).toEqual(notFound);
    expect(await voice.tellRefused(completeTask, loan)).toEqual(notFound);
    expect(await voice.tellRefused(failTask, { ...loan, error: { message: "so" } })).toEqual(notFound);
    expect((await show(id)).staleResults).toEqual([]);
  });
});

const jsonOf = ({ result }: Task): JsonValue | undefined => result && toJson(ValueSchema, result);
