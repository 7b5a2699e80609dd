import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { TokenRole } from "../../gen/drover/v1/token_service_pb.js";
import { enrollAgent } from "../helpers/fleet-api.ts";
import { type Stage, setStage } from "../helpers/stage.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await setStage();
});
afterAll(async () => {
  await stage.close();
});

interface Row {
  type: string;
  subject: string;
  agent: string | null;
  data: Record<string, unknown>;
}

/** Events after an id, in the order of ids; the newest id last. */
async function eventsAfter(id: bigint): Promise<Row[]> {
  return await stage.sql<Row[]>`
    SELECT type, subject, agent_name AS agent, data FROM events WHERE id > ${String(id)} ORDER BY id`;
}

async function newestId(): Promise<bigint> {
  const [row] = await stage.sql<{ id: string }[]>`SELECT coalesce(max(id), 0)::text AS id FROM events`;
  return BigInt(row?.id ?? 0);
}

/** What `act` told of, as type, from and to. */
async function told(act: () => Promise<unknown>): Promise<string[]> {
  const before = await newestId();
  await act();
  return (await eventsAfter(before)).map(({ type, data }) =>
    data.to === undefined ? type : `${type} ${data.from}>${data.to}`,
  );
}

describe("whoever makes a fact true appends its event", () => {
  test("the first start tells of the project and its operator", async () => {
    expect((await eventsAfter(0n)).slice(0, 2)).toMatchObject([
      { type: "project.created", data: { name: "default" } },
      { type: "token.created", data: { role: "operator", actor: "server" } },
    ]);
  });

  test("an agent's life, each change once, and nothing for what changes nothing", async () => {
    const start = await newestId();
    const agent = await enrollAgent(stage.fleet, stage.operator);
    expect((await eventsAfter(start)).map(({ type }) => type)).toEqual([
      "token.created",
      "agent.enrolled",
      "token.created",
    ]);
    const api = stage.fleet.agent(agent.token);
    expect(await told(() => api.heartbeat({ status: AgentStatus.ONLINE }))).toEqual([
      "agent.liveness_changed never>live",
      "agent.status_changed pending>online",
    ]);
    expect(await told(() => api.heartbeat({ status: AgentStatus.ONLINE }))).toEqual([]);
    const warning = { severity: Severity.WARNING, message: "hot, password=hunter2", context: { token: "x" } };
    expect(await told(() => api.heartbeat({ status: AgentStatus.BUSY, error: warning }))).toEqual([
      "error.reported",
      "agent.status_changed online>busy",
    ]);
    expect(await told(() => api.reportError({ severity: Severity.INFO, message: "note" }))).toEqual([
      "error.reported",
    ]);
    await stage.sql`UPDATE agent_states SET liveness = 'stale' WHERE agent_id = ${agent.uuid}`;
    expect(await told(() => api.heartbeat({ status: AgentStatus.BUSY }))).toEqual([
      "agent.liveness_changed stale>live",
    ]);
    expect(await told(() => api.leave({}))).toEqual(["agent.liveness_changed live>offline"]);
    expect(await told(() => api.leave({}))).toEqual([]);
    expect(await told(() => api.heartbeat({ status: AgentStatus.ERROR }))).toEqual([
      "agent.liveness_changed offline>live",
      "agent.status_changed busy>error",
    ]);
    const { name } = agent;
    expect(await told(() => stage.operator.fleet.resetAgent({ agent: name }))).toEqual([
      "agent.status_changed error>online",
    ]);
    const rotated = await api.rotateToken({});
    const renewed = stage.fleet.agent(rotated.secret);
    expect(await told(() => renewed.heartbeat({ status: AgentStatus.ONLINE }))).toEqual([
      "token.retired",
      "token.activated",
    ]);
    expect(await told(() => stage.operator.fleet.removeAgent({ agent: name }))).toEqual([
      // The one in use and the one that it replaced.
      "token.revoked",
      "token.revoked",
      "agent.removed",
    ]);
    const all = (await eventsAfter(start)).slice(1);
    expect(new Set(all.map(({ agent: named }) => named))).toEqual(new Set([name]));
    expect(all.every(({ data }) => data.agent === name)).toBe(true);
    expect(JSON.stringify(all)).not.toMatch(/hunter2|drv_/);
    expect(all.find(({ type }) => type === "error.reported")?.data).toMatchObject({
      severity: "warning",
      message: expect.stringContaining("hot") as string,
    });
  });

  test("a task's life, and a fatal heartbeat that fails it over", async () => {
    const agent = await enrollAgent(stage.fleet, stage.operator);
    const api = stage.fleet.agent(agent.token);
    await api.heartbeat({ status: AgentStatus.ONLINE });
    const start = await newestId();
    const payload = { kind: { case: "structValue", value: { fields: {} } } } as const;
    const { task } = await stage.operator.tasks.createTask({ kind: "hash", payload });
    const id = task?.id ?? "";
    const claim = async () =>
      (await api.claimTasks({ kinds: ["hash"], max: 1 })).tasks[0]?.lease?.epoch ?? 0n;
    const leaseEpoch = await claim();
    await api.updateTask({ task: id, leaseEpoch, progress: 0.5 });
    const fatal = { severity: Severity.FATAL, message: "gone" };
    expect(await told(() => api.heartbeat({ status: AgentStatus.BUSY, error: fatal }))).toEqual([
      "task.requeued running>pending",
      "error.reported",
      "agent.status_changed online>error",
    ]);
    await stage.operator.tasks.cancelTask({ task: id });
    const ofTask = (await eventsAfter(start)).filter(({ subject }) => subject === id);
    expect(ofTask.map(({ type, agent: name }) => [type, name])).toEqual([
      ["task.created", null],
      ["task.leased", agent.name],
      ["task.started", agent.name],
      ["task.requeued", agent.name],
      ["task.cancelled", null],
    ]);
    expect(ofTask[3]?.data).toMatchObject({ kind: "hash", leaseEpoch: "1", agent: agent.name });
  });

  test("projects and tokens, in the project that they belong to", async () => {
    const { project } = await stage.operator.projects.createProject({ name: "other" });
    const other = stage.fleet.operator(stage.operatorToken, "other");
    const { token } = await other.tokens.createToken({ role: TokenRole.VIEWER });
    await other.tokens.revokeToken({ token: token?.id ?? "" });
    expect(await told(() => other.tokens.revokeToken({ token: token?.id ?? "" }))).toEqual([]);
    const uuid = project?.id.replace("project_", "") ?? "";
    const rows = await stage.sql`SELECT type, subject FROM events WHERE project_id = ${uuid} ORDER BY id`;
    expect(rows.map(({ type, subject }) => [type, subject])).toEqual([
      ["project.created", project?.id],
      ["token.created", token?.id],
      ["token.revoked", token?.id],
    ]);
  });
});
