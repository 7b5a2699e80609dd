import { randomUUID } from "node:crypto";
import { toJson } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { AgentStatus, Liveness } from "../../gen/drover/v1/agent_pb.js";
import { AgentService, type HeartbeatResponse } from "../../gen/drover/v1/agent_service_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { EventService } from "../../gen/drover/v1/event_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { messageOf, refusalOf } from "../helpers/door-client.ts";
import { DOORS, useDoors } from "../helpers/door-suite.ts";
import { newAgent, type TestAgent } from "../helpers/fleet.ts";

const { heartbeat, reportError } = AgentService.method;
const { getAgent, listErrors, resetAgent } = FleetService.method;
const { listAuditEntries } = EventService.method;

const doors = useDoors();

const { ONLINE, BUSY, BENCHMARKED, ERROR, PENDING } = AgentStatus;
const fatal = { severity: Severity.FATAL, message: "the disk is gone" };
const warning = { severity: Severity.WARNING, message: "it is warm" };

const operator = () => ({ token: doors.server.operatorToken });

async function stateOf({ name }: TestAgent) {
  const { agent } = messageOf(await doors.anyDoor.call(getAgent, { agent: name }, operator()));
  return agent;
}

async function errorsOf({ id }: TestAgent): Promise<string[]> {
  const request = { agent: id, orderBy: "created_at" };
  const { errors } = messageOf(await doors.anyDoor.call(listErrors, request, operator()));
  return errors.map((error) => error.message);
}

/** The audited changes of an agent, oldest first: field, from, to and version. */
async function changesOf({ id }: TestAgent): Promise<[string, string, string, bigint][]> {
  const request = {
    subject: id,
    orderBy: "time",
    action: ["agent.status_changed", "agent.liveness_changed"],
  };
  const { entries } = messageOf(await doors.anyDoor.call(listAuditEntries, request, operator()));
  return entries
    .map(({ field, from, to, version }): [string, string, string, bigint] => [field, from, to, version])
    .sort((one, two) => Number(one[3] - two[3]));
}

/** The lines of the log that are about an agent. */
function linesOf({ name }: TestAgent): Record<string, unknown>[] {
  const lines = doors.server.output().trimEnd().split("\n");
  return lines
    .map((line): Record<string, unknown> => JSON.parse(line))
    .filter(({ agent, project }) => agent === name && project === "default");
}

/** The transitions that it tells of an agent. */
const loggedOf = (agent: TestAgent): string[] =>
  linesOf(agent)
    .filter(({ msg }) => msg === "agent status changed")
    .map(({ from, to }) => `${from} ${to}`);

const transitionOf = ({ transition }: HeartbeatResponse) =>
  transition && [transition.from, transition.to, transition.reason];

describe.each(DOORS)("%s", (name) => {
  const beat = (
    agent: TestAgent,
    request: Parameters<typeof doors.anyDoor.call<typeof heartbeat.input, typeof heartbeat.output>>[1],
  ) => doors.door(name).call(heartbeat, request, { token: agent.token });

  test("an agent comes to life, works, fails and recovers", async () => {
    const agent = await newAgent(doors);
    const first = messageOf(await beat(agent, { status: ONLINE }));
    expect(first).toMatchObject({
      acknowledged: true,
      agentStatus: ONLINE,
      hasHighPriorityTasks: false,
      duplicate: false,
    });
    expect(first.renewedToken).toBeUndefined();
    expect(first.nextHeartbeat?.seconds).toBe(15n);
    expect(transitionOf(first)).toEqual([PENDING, ONLINE, "first heartbeat: reported online"]);
    expect(transitionOf(messageOf(await beat(agent, { status: ONLINE })))).toBeUndefined();
    expect(transitionOf(messageOf(await beat(agent, { status: BUSY })))).toEqual([
      ONLINE,
      BUSY,
      "reported busy",
    ]);

    const failed = messageOf(await beat(agent, { status: BUSY, error: fatal }));
    expect(failed.agentStatus).toBe(ERROR);
    expect(transitionOf(failed)).toEqual([BUSY, ERROR, "fatal error reported"]);
    expect(failed.taskFailures).toMatchObject({ attempted: 0, requeued: 0, failed: 0 });
    // Still in error, it may beat and report; a report changes nothing.
    const again = messageOf(await beat(agent, { status: ERROR }));
    expect([again.agentStatus, again.transition]).toEqual([ERROR, undefined]);
    const report = { severity: Severity.FATAL, message: "still gone" };
    messageOf(await doors.door(name).call(reportError, report, { token: agent.token }));
    expect((await stateOf(agent))?.status).toBe(ERROR);

    const back = messageOf(await beat(agent, { status: BENCHMARKED, error: warning }));
    expect(transitionOf(back)).toEqual([ERROR, BENCHMARKED, "recovered: reported benchmarked"]);
    expect(back.taskFailures).toBeUndefined();
    expect(await errorsOf(agent)).toEqual([fatal.message, report.message, warning.message]);
    expect(await changesOf(agent)).toEqual([
      ["liveness", "never", "live", 1n],
      ["status", "pending", "online", 2n],
      ["status", "online", "busy", 3n],
      ["status", "busy", "error", 4n],
      ["status", "error", "benchmarked", 5n],
    ]);
    const state = await stateOf(agent);
    expect([state?.status, state?.liveness, state?.version]).toEqual([BENCHMARKED, Liveness.LIVE, 5n]);
    expect(state?.recentErrors).toMatchObject({ worstSeverity: Severity.FATAL });
    expect(Number(state?.recentErrors?.count)).toBe(3);
  });

  test("a fatal error wins over whatever was reported, a warning over nothing", async () => {
    for (const status of [ONLINE, BUSY, BENCHMARKED, ERROR]) {
      const agent = await newAgent(doors);
      expect(messageOf(await beat(agent, { status, error: warning })).agentStatus).toBe(status);
      expect(messageOf(await beat(agent, { status, error: fatal })).agentStatus).toBe(ERROR);
      expect(messageOf(await beat(agent, { status: ONLINE, error: warning })).agentStatus).toBe(ONLINE);
    }
  });

  test("an operator's reset takes an agent out of error, and does nothing else", async () => {
    const agent = await newAgent(doors);
    messageOf(await beat(agent, { status: BUSY }));
    const reset = () => doors.door(name).call(resetAgent, { agent: agent.name }, operator());
    expect(messageOf(await reset()).agent).toMatchObject({ status: BUSY, version: 2n });
    messageOf(await beat(agent, { status: ERROR }));
    expect(messageOf(await reset()).agent).toMatchObject({ status: ONLINE, version: 4n });
    expect(messageOf(await reset()).agent).toMatchObject({ status: ONLINE, version: 4n });
    expect((await changesOf(agent)).slice(2)).toEqual([
      ["status", "busy", "error", 3n],
      ["status", "error", "online", 4n],
    ]);
  });

  test("what is left out is unchanged, what is said replaces", async () => {
    const agent = await newAgent(doors, {
      labels: { zone: "a" },
      capabilities: ["cpu"],
      deviceInfo: { cores: 1 },
    });
    messageOf(await beat(agent, { status: ONLINE }));
    expect(await stateOf(agent)).toMatchObject({
      labels: { zone: "a" },
      capabilities: ["cpu"],
      deviceInfo: { cores: 1 },
    });
    const said = {
      labels: { rack: "9" },
      capabilities: ["gpu"],
      deviceInfo: { cores: 2 },
      gauges: { rate: 1.5 },
    };
    messageOf(await beat(agent, { status: ONLINE, ...said }));
    messageOf(await beat(agent, { status: ONLINE }));
    expect(await stateOf(agent)).toMatchObject(said);
    expect((await stateOf(agent))?.labels).toEqual(said.labels);
  });

  test("a task that is not this agent's is not linked, and the rest of the heartbeat counts", async () => {
    const agent = await newAgent(doors);
    const currentTask = {
      taskId: "task_01900000-0000-7000-8000-000000000000",
      leaseEpoch: 1n,
      progress: 0.5,
    };
    const answer = messageOf(await beat(agent, { status: BUSY, currentTask, error: warning }));
    expect(answer.agentStatus).toBe(BUSY);
    expect((await stateOf(agent))?.currentTask).toBeUndefined();
    expect(await errorsOf(agent)).toEqual([warning.message]);
    expect(doors.server.output()).toContain(agent.name);
  });

  test("a repeat through any door is answered as before and has no second effect", async () => {
    const agent = await newAgent(doors);
    const session = (sequence: bigint) => ({ bootId: "boot-1", sequence });
    messageOf(await beat(agent, { status: ONLINE, session: session(1n) }));
    const request = { status: BUSY, error: fatal, session: session(2n) };
    const first = messageOf(await beat(agent, request));
    expect(first.duplicate).toBe(false);
    // The interval is drawn afresh for every answer.
    const comparable = ({ nextHeartbeat: _, ...answer }: HeartbeatResponse) =>
      toJson(heartbeat.output, { ...answer, duplicate: false });
    for (const other of DOORS) {
      const again = messageOf(await doors.door(other).call(heartbeat, request, { token: agent.token }));
      expect(again.duplicate).toBe(true);
      expect(comparable(again)).toEqual(comparable(first));
    }
    // The answer stays what it was, whatever has happened since.
    messageOf(await beat(agent, { status: ONLINE, session: session(3n) }));
    const late = messageOf(await beat(agent, request));
    expect([late.duplicate, late.agentStatus]).toEqual([true, ERROR]);
    expect((await stateOf(agent))?.status).toBe(ONLINE);
    expect(await errorsOf(agent)).toEqual([fatal.message]);
    const changes = ["pending online", "online error", "error online"];
    expect((await changesOf(agent)).map(([, from, to]) => `${from} ${to}`)).toEqual([
      "never live",
      ...changes,
    ]);
    expect(loggedOf(agent)).toEqual(changes);
  });

  test("an older heartbeat never undoes a newer one; only its error is kept, once", async () => {
    const agent = await newAgent(doors);
    const at = (sequence: bigint) => ({ bootId: "boot-1", sequence });
    messageOf(await beat(agent, { status: BUSY, session: at(5n), labels: { is: "new" }, gauges: { n: 5 } }));
    const before = await changesOf(agent);
    const old = messageOf(
      await beat(agent, { status: ONLINE, session: at(3n), labels: { is: "old" }, gauges: { n: 3 } }),
    );
    expect([old.duplicate, old.agentStatus, old.transition]).toEqual([true, BUSY, undefined]);
    const withError = { status: ONLINE, session: at(4n), error: fatal };
    const late = messageOf(await beat(agent, withError));
    expect([late.duplicate, late.agentStatus, late.transition]).toEqual([false, BUSY, undefined]);
    const repeat = messageOf(await beat(agent, withError));
    expect([repeat.duplicate, repeat.agentStatus]).toEqual([true, BUSY]);
    expect(await errorsOf(agent)).toEqual([fatal.message]);
    expect(await changesOf(agent)).toEqual(before);
    const state = await stateOf(agent);
    expect(state).toMatchObject({ status: BUSY, labels: { is: "new" }, gauges: { n: 5 } });
    expect(state?.session).toMatchObject({ bootId: "boot-1", sequence: 5n });
  });

  test("a new run of the process supersedes the one before, which is refused for good", async () => {
    const agent = await newAgent(doors);
    messageOf(await beat(agent, { status: ONLINE, session: { bootId: "one", sequence: 7n } }));
    const second = messageOf(await beat(agent, { status: BUSY, session: { bootId: "two", sequence: 0n } }));
    expect([second.duplicate, second.agentStatus, second.reportFullState]).toEqual([false, BUSY, true]);
    for (const sequence of [7n, 8n, 900n]) {
      const refusal = refusalOf(
        await beat(agent, { status: ERROR, error: fatal, session: { bootId: "one", sequence } }),
      );
      expect([refusal.code, refusal.reason]).toEqual([Code.Aborted, "SESSION_SUPERSEDED"]);
      if (name === "REST") expect(refusal.httpStatus).toBe(409);
    }
    expect(await errorsOf(agent)).toEqual([]);
    const state = await stateOf(agent);
    expect(state?.status).toBe(BUSY);
    expect(state?.session).toMatchObject({ bootId: "two", epoch: 2n, sequence: 0n });
  });

  test("without a session nothing is deduplicated", async () => {
    const agent = await newAgent(doors);
    for (let i = 0; i < 3; i++) {
      expect(messageOf(await beat(agent, { status: ONLINE, error: warning })).duplicate).toBe(false);
    }
    expect(await errorsOf(agent)).toHaveLength(3);
  });

  test("the log names the call, as its caller and the answer do, with its agent and its task", async () => {
    const agent = await newAgent(doors);
    const call = (token: string, requestId?: string) =>
      doors
        .door(name)
        .call(
          heartbeat,
          { status: BUSY, currentTask: { taskId, leaseEpoch: 1n } },
          { token, ...(requestId !== undefined && { headers: { "x-request-id": requestId } }) },
        );
    const taskId = `task_${randomUUID()}`;
    const requestId = `of:${agent.name}/1`;
    messageOf(await call(agent.token, requestId));
    const named = { requestId, agentId: agent.id, agent: agent.name, task: taskId };
    expect(linesOf(agent)).toEqual([
      expect.objectContaining({ ...named, msg: "a heartbeat named a task that its agent does not hold" }),
      expect.objectContaining({ ...named, msg: "agent status changed" }),
    ]);
    const answered = async (given?: string) =>
      refusalOf(await call("drv_agt_none", given)).headers.get("x-request-id");
    expect(await answered(requestId)).toBe(requestId);
    const fresh = await Promise.all([undefined, "a b", "a,b", "x".repeat(65), '"}'].map(answered));
    for (const one of fresh) expect(one).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    expect(new Set(fresh).size).toBe(fresh.length);
  });

  test("an error is counted, not stored, above sixty a minute of one kind", async () => {
    const agent = await newAgent(doors);
    const report = (n: number) =>
      doors.anyDoor.call(
        reportError,
        { severity: Severity.MINOR, message: `failed ${n}` },
        { token: agent.token },
      );
    for (let n = 0; n < 60; n++) messageOf(await report(n));
    const over = { severity: Severity.MINOR, message: "failed 61" };
    const { errorReport } = messageOf(await doors.door(name).call(reportError, over, { token: agent.token }));
    expect(Number(errorReport?.occurrences)).toBe(2);
    expect(await errorsOf(agent)).toHaveLength(60);
    expect(Number((await stateOf(agent))?.recentErrors?.count)).toBe(61);
  });
});

test("one heartbeat sent through every door at once has one effect and one account of it", async () => {
  const agent = await newAgent(doors);
  const request = { status: BUSY, error: fatal, session: { bootId: "boot", sequence: 1n } };
  const outcomes = await Promise.all(
    [...DOORS, ...DOORS, ...DOORS].map((name) =>
      doors.door(name).call(heartbeat, request, { token: agent.token }),
    ),
  );
  const answers = outcomes.map(messageOf);
  expect(answers.filter(({ duplicate }) => !duplicate)).toHaveLength(1);
  expect(new Set(answers.map((answer) => JSON.stringify(transitionOf(answer)))).size).toBe(1);
  expect(await errorsOf(agent)).toEqual([fatal.message]);
  expect(await changesOf(agent)).toHaveLength(2);
});

test("of heartbeats that are written together, each line names its own call", async () => {
  const agents = await Promise.all(
    DOORS.flatMap((name) => [name, name]).map(async (name) => ({ name, agent: await newAgent(doors) })),
  );
  await Promise.all(
    agents.map(({ name, agent: { token, id } }) =>
      doors.door(name).call(heartbeat, { status: BUSY }, { token, headers: { "x-request-id": `of:${id}` } }),
    ),
  );
  for (const { agent } of agents)
    expect(linesOf(agent)).toMatchObject([{ requestId: `of:${agent.id}`, agentId: agent.id }]);
});

test("heartbeats of one run through mixed doors, in any order, leave the newest and a whole chain", async () => {
  const agent = await newAgent(doors);
  const statuses = [ONLINE, BUSY, BENCHMARKED, ERROR];
  const beats = Array.from({ length: 60 }, (_, i) => ({
    status: statuses[(i * 7) % 4] ?? ONLINE,
    session: { bootId: "boot", sequence: BigInt(i) },
  }));
  // A fixed shuffle: 17 and 60 have no common divisor.
  const shuffled = beats.map((_, i) => beats[(i * 17) % 60] ?? beats[0]);
  const last = beats[59];
  await Promise.all(
    shuffled.map((request, i) =>
      doors.door(DOORS[i % DOORS.length] ?? "REST").call(heartbeat, request ?? {}, { token: agent.token }),
    ),
  );
  const state = await stateOf(agent);
  expect([state?.status, state?.session?.sequence]).toEqual([last?.status, 59n]);
  const changes = await changesOf(agent);
  expect(changes.map(([, , , version]) => version)).toEqual(changes.map((_, i) => BigInt(i + 1)));
  const chain = changes.filter(([field]) => field === "status");
  for (const [i, [, from, to]] of chain.entries()) {
    expect(from).not.toBe(to);
    expect(from).toBe(i === 0 ? "pending" : chain[i - 1]?.[2]);
  }
  expect(chain.at(-1)?.[2]).toBe(last?.status === undefined ? "" : AgentStatus[last.status]?.toLowerCase());
});
