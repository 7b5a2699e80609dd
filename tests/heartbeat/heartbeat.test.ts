import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { ConnectError } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus, Liveness } from "../../gen/drover/v1/agent_pb.js";
import type { HeartbeatRequestSchema } from "../../gen/drover/v1/agent_service_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.js";
import { DOORS, type EnrolledAgent, enrollAgent } from "../helpers/fleet-api.ts";
import { logLines } from "../helpers/log-lines.ts";
import { type Stage, setStage } from "../helpers/stage.ts";
import { waitFor } from "../helpers/wait-for.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await setStage({ env: { DROVER_HEARTBEAT_INTERVAL: "7s" } });
});
afterAll(async () => {
  await stage.close();
});

const newAgent = () => enrollAgent(stage.fleet, stage.operator);
const beat = (agent: EnrolledAgent, more: MessageInitShape<typeof HeartbeatRequestSchema> = {}) =>
  stage.fleet.agent(agent.token).heartbeat({ status: AgentStatus.ONLINE, ...more });
const shown = async ({ name }: EnrolledAgent) => (await stage.operator.fleet.getAgent({ agent: name })).agent;

describe("an answer", () => {
  test("tells the status, the transition, the interval, and of no tasks where nobody has any", async () => {
    const agent = await newAgent();
    for (const door of DOORS) {
      const answer = await stage.fleet.agent(agent.token, door).heartbeat({ status: AgentStatus.BUSY });
      expect(answer).toMatchObject({
        acknowledged: true,
        agentStatus: AgentStatus.BUSY,
        hasHighPriorityTasks: false,
        duplicate: false,
        nextHeartbeat: { seconds: 7n, nanos: 0 },
      });
    }
    const fatal = await beat(agent, { error: { severity: Severity.FATAL, message: "lost" } });
    expect(fatal).toMatchObject({
      agentStatus: AgentStatus.ERROR,
      transition: { from: AgentStatus.BUSY, to: AgentStatus.ERROR, reason: "fatal error reported" },
      taskFailures: { attempted: 0, requeued: 0, failed: 0 },
    });
    const recovered = await beat(agent);
    expect(recovered.transition?.reason).toContain("recovered");
    expect(recovered.taskFailures).toBeUndefined();
    expect((await beat(agent)).transition).toBeUndefined();
  });

  test("asks a new run for all that it left out, and a run that said it for nothing", async () => {
    const agent = await newAgent();
    const session = (bootId: string, sequence: bigint) => ({ session: { bootId, sequence } });
    expect((await beat(agent)).reportFullState).toBe(false);
    expect((await beat(agent, session("one", 1n))).reportFullState).toBe(true);
    expect((await beat(agent, session("one", 2n))).reportFullState).toBe(false);
    const full = { capabilities: ["gpu"], deviceInfo: { cores: 8 } };
    expect((await beat(agent, { ...session("two", 1n), ...full })).reportFullState).toBe(false);
  });
});

describe("what an agent says of itself", () => {
  test("stays when it is left out, and is replaced as a whole when it is said again", async () => {
    const agent = await newAgent();
    await beat(agent, {
      capabilities: ["gpu", "sha256"],
      labels: { zone: "a", rack: "7" },
      deviceInfo: { cores: 8, __proto__x: 1, nested: { constructor: "plain data" } },
      gauges: { "hashes/s": 1.5e9, temperature: -3.25 },
    });
    await beat(agent, { status: AgentStatus.BUSY });
    expect(await shown(agent)).toMatchObject({
      status: AgentStatus.BUSY,
      liveness: Liveness.LIVE,
      capabilities: ["gpu", "sha256"],
      labels: { zone: "a", rack: "7" },
      deviceInfo: { cores: 8, nested: { constructor: "plain data" } },
      gauges: { "hashes/s": 1.5e9, temperature: -3.25 },
    });
    await beat(agent, { labels: { zone: "b" }, gauges: { temperature: 0 } });
    expect((await shown(agent))?.labels).toEqual({ zone: "b" });
    expect((await shown(agent))?.gauges).toEqual({ temperature: 0 });
  });

  test("a heartbeat that changes nothing writes no entry, no record and no version", async () => {
    const agent = await newAgent();
    const session = (sequence: bigint) => ({ session: { bootId: "b", sequence } });
    await beat(agent, session(1n));
    const before = await shown(agent);
    const entries = async () =>
      (await stage.sql`SELECT 1 FROM audit_entries WHERE subject = ${`agent_${agent.uuid}`}`).length;
    const records = async () =>
      (await stage.sql`SELECT 1 FROM heartbeat_effects WHERE agent_id = ${agent.uuid}`).length;
    const counted = [await entries(), await records()];
    for (let sequence = 2n; sequence < 6n; sequence++) await beat(agent, session(sequence));
    expect([await entries(), await records()]).toEqual(counted);
    const after = await shown(agent);
    expect(after?.version).toBe(before?.version);
    expect(after?.statusChangedAt).toEqual(before?.statusChangedAt);
    expect(after?.session?.sequence).toBe(5n);
    expect(after?.lastHeartbeatAt).not.toEqual(before?.lastHeartbeatAt);
  });
});

describe("a run of an agent's process", () => {
  test("that another one took over from is refused, through every door, and changes nothing", async () => {
    const agent = await newAgent();
    await beat(agent, { session: { bootId: "old", sequence: 9n } });
    await beat(agent, { session: { bootId: "new", sequence: 1n } });
    const before = await shown(agent);
    expect(before?.session).toMatchObject({ bootId: "new", epoch: 2n, sequence: 1n });
    for (const door of DOORS) {
      const refusal = await stage.fleet
        .agent(agent.token, door)
        .heartbeat({ status: AgentStatus.BUSY, session: { bootId: "old", sequence: 10n } })
        .catch((error: unknown) => ConnectError.from(error));
      if (!(refusal instanceof ConnectError)) throw new Error("a superseded run was heard");
      expect(refusal.rawMessage).toContain("newer run");
      if (door !== "rest") expect(refusal.findDetails(ErrorInfoSchema)[0]?.reason).toBe("SESSION_SUPERSEDED");
    }
    expect(await shown(agent)).toEqual(before);
  });

  test("two new ones at once: each has an epoch of its own, and the later one stays", async () => {
    const agent = await newAgent();
    const boots = Array.from({ length: 6 }, (_, index) => `boot-${index}`);
    await Promise.all(boots.map((bootId) => beat(agent, { session: { bootId, sequence: 1n } })));
    const rows = await stage.sql<{ epoch: number }[]>`
      SELECT epoch::int FROM agent_sessions WHERE agent_id = ${agent.uuid} ORDER BY epoch`;
    expect(rows.map(({ epoch }) => epoch)).toEqual([1, 2, 3, 4, 5, 6]);
    expect((await shown(agent))?.session?.epoch).toBe(6n);
  });
});

describe("the list of an agent's runs", () => {
  const list = async ({ name: agent }: EnrolledAgent) =>
    (await stage.operator.fleet.listAgentSessions({ agent })).sessions;
  const session = (bootId: string, sequence: bigint) => ({ session: { bootId, sequence } });

  // Agents are shown to the millisecond.
  const ms = (time: Timestamp | undefined) => time && [time.seconds, Math.floor(time.nanos / 1e6)];

  test("tells when each began, was heard last and was taken over, the newest first", async () => {
    const agent = await newAgent();
    expect(await list(agent)).toEqual([]);
    await beat(agent, session("first", 1n));
    const began = (await list(agent))[0];
    await beat(agent, session("first", 2n));
    const lastWord = (await shown(agent))?.lastHeartbeatAt;
    await beat(agent, session("second", 1n));
    const [second, first, ...none] = await list(agent);
    expect(none).toEqual([]);
    expect(first).toMatchObject({ bootId: "first", epoch: 1n, current: false, startedAt: began?.startedAt });
    expect(ms(first?.lastHeartbeatAt)).toEqual(ms(lastWord));
    expect(began?.lastHeartbeatAt).not.toEqual(first?.lastHeartbeatAt);
    expect(second).toMatchObject({ bootId: "second", epoch: 2n, current: true });
    expect(first?.supersededAt).toEqual(second?.startedAt);
    expect(second?.supersededAt).toBeUndefined();
    expect(ms(second?.lastHeartbeatAt)).toEqual(ms((await shown(agent))?.lastHeartbeatAt));
    await stage.operator.fleet.removeAgent({ agent: agent.name });
    await expect(list(agent)).rejects.toThrow(`no agent named ${agent.name}`);
  });

  test("tells of no heartbeat where a run said hello and no more", async () => {
    const agent = await newAgent();
    await beat(agent, session("before", 1n));
    for (const [place, bootId] of ["silent", "after"].entries()) {
      const ending = new AbortController();
      const stream = stage.fleet.agent(agent.token).watchCommands({ bootId }, { signal: ending.signal });
      const read = (async () => {
        for await (const _ of stream);
      })().catch(() => {});
      await waitFor(async () => (await list(agent)).length === place + 2 || undefined);
      ending.abort();
      await read;
    }
    const heard = (await list(agent)).map((run) => [run.bootId, run.lastHeartbeatAt !== undefined]);
    expect(heard).toEqual([
      ["after", false],
      ["silent", false],
      ["before", true],
    ]);
  });
});

describe("a current task that the agent does not hold", () => {
  test("is dropped with a warning in the log, its error is kept, and the rest is taken", async () => {
    const agent = await newAgent();
    const taskId = "task_0190f3a2-0000-7000-8000-000000000001";
    const answer = await beat(agent, {
      status: AgentStatus.BUSY,
      currentTask: { taskId, leaseEpoch: 3n, progress: 0.5 },
      error: { severity: Severity.WARNING, message: "while at it" },
    });
    expect(answer.agentStatus).toBe(AgentStatus.BUSY);
    const { errors } = await stage.operator.fleet.listErrors({ agent: agent.name });
    expect(errors).toMatchObject([{ message: "while at it", taskId: "" }]);
    expect((await shown(agent))?.currentTask).toBeUndefined();
    const [line] = await logLines(stage.server, { level: "warn", agent: agent.name }, 1);
    expect(line).toMatchObject({ task: taskId, leaseEpoch: "3" });
  });
});

test("each transition is one structured line in the log, after the fact", async () => {
  const agent = await newAgent();
  await beat(agent);
  await beat(agent);
  await beat(agent, { status: AgentStatus.ERROR });
  await stage.operator.fleet.resetAgent({ agent: agent.name });
  const lines = await logLines(stage.server, { agent: agent.name, msg: "agent status changed" }, 3);
  expect(lines.map(({ project, from, to }) => [project, from, to])).toEqual([
    ["default", "pending", "online"],
    ["default", "online", "error"],
    ["default", "error", "online"],
  ]);
  expect(lines.every(({ reason }) => typeof reason === "string" && reason !== "")).toBe(true);
});
