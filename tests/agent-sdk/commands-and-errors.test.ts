import { describe, expect, it } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { memoryCredentialStore, type TaskHandler } from "../../src/agent-sdk/agent-client.ts";
import { taskId } from "./fake-session-server.ts";
import { agentOf, fakeServer } from "./with-agent.ts";

const endless: TaskHandler = (_task, { signal }) =>
  new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));

describe("commands", () => {
  it("cancelTask stops the work, once, whichever way it comes, and is acknowledged", async () => {
    const server = await fakeServer();
    const { client, sees, events } = agentOf(server);
    await client.start();
    void client.work({ work: endless });
    await server.hears("ready");
    server.assign({ id: taskId(1) });
    await sees("taskBegan");
    const command = { sequence: 7n, kind: "cancelTask", taskId: taskId(1), reason: "not needed" };
    server.answers.heartbeat = () => ({ commands: [command] });
    server.stream.say({ case: "command", value: command });
    expect((await sees("taskDropped")).why).toMatchObject({ reason: "cancelled", message: "not needed" });
    const acknowledged = await server.hears("commandAcknowledgement");
    expect(acknowledged.said.sequences).toEqual([7n]);
    const { index } = await server.hears("ready", ({ slots }) => slots === 1, acknowledged.index);
    await server.hears("heartbeat", () => true, index);
    expect(events.filter(({ kind }) => kind === "taskStopping")).toHaveLength(1);
    expect(server.all("taskFail")).toEqual([]);
  });

  it("echo is acknowledged at once, and again where it comes again", async () => {
    const server = await fakeServer();
    const { client } = agentOf(server);
    await client.start();
    const command = { sequence: 4n, kind: "echo" };
    server.stream.say({ case: "command", value: command });
    const first = await server.hears("commandAcknowledgement");
    expect(first.said.sequences).toEqual([4n]);
    server.stream.say({ case: "command", value: command });
    await server.hears("commandAcknowledgement", () => true, first.index + 1);
    expect(server.all("error")).toEqual([]);
  });

  it("reportFullState has the next heartbeat tell all of the agent", async () => {
    const server = await fakeServer();
    server.intervalMs = 60_000;
    const { client } = agentOf(server, { labels: { zone: "a" }, capabilities: ["gpu"] });
    await client.start();
    client.setGauges({ rate: 2 });
    const first = await server.hears("heartbeat");
    server.stream.say({ case: "command", value: { sequence: 1n, kind: "reportFullState" } });
    const { said } = await server.hears("heartbeat", () => true, first.index + 1);
    expect(said).toMatchObject({ labels: { zone: "a" }, capabilities: ["gpu"], gauges: { rate: 2 } });
    await server.hears("commandAcknowledgement", ({ sequences }) => sequences.includes(1n));
  });

  it("rotateToken asks for a token, stores it before it is used, and uses it", async () => {
    const server = await fakeServer();
    const credentials = memoryCredentialStore("drv_agt_a");
    const { client } = agentOf(server, { credentials });
    await client.start();
    server.stream.say({ case: "command", value: { sequence: 1n, kind: "rotateToken" } });
    await server.until(() => server.stream.token === "drv_agt_rotated");
    expect(await credentials.load()).toMatchObject({ renewed: "drv_agt_rotated" });
    expect(server.rotations).toEqual(["drv_agt_a"]);
    await server.hears("commandAcknowledgement", ({ sequences }) => sequences.includes(1n));
  });

  it("rotateToken that fails is not acknowledged, and tried again when it comes again", async () => {
    const server = await fakeServer();
    server.tokens = new Set(["drv_agt_a"]);
    const { client, sees } = agentOf(server);
    await client.start();
    server.tokens.clear();
    const command = { sequence: 1n, kind: "rotateToken" };
    server.stream.say({ case: "command", value: command });
    await sees("notice", ({ text }) => text.includes("not rotated"));
    expect(server.all("commandAcknowledgement")).toEqual([]);
    server.tokens.add("drv_agt_a");
    server.answers.heartbeat = () => ({ commands: [command] });
    await server.hears("commandAcknowledgement", ({ sequences }) => sequences.includes(1n));
    expect(server.rotations).toEqual(["drv_agt_a", "drv_agt_a"]);
  });

  it("shutDown takes no more tasks, lets work come to its end, and leaves", async () => {
    const server = await fakeServer();
    const { client, sees } = agentOf(server);
    await client.start();
    const { promise: finished, resolve: finish } = Promise.withResolvers<void>();
    const ended = client.work({ work: () => finished.then(() => "done") }, { slots: 2 });
    const ready = await server.hears("ready", ({ slots }) => slots === 2);
    server.assign({ id: taskId(1) });
    await sees("taskBegan");
    server.stream.say({ case: "command", value: { sequence: 1n, kind: "shutDown", reason: "upgrade" } });
    expect((await sees("shutDown")).why).toBe("upgrade");
    await server.hears("ready", ({ slots }) => slots === 0, ready.index + 1);
    await server.hears("commandAcknowledgement", ({ sequences }) => sequences.includes(1n));
    expect(server.all("goodbye")).toEqual([]);
    finish();
    expect(await ended).toEqual({ kind: "left" });
    expect(server.all("taskComplete")).toHaveLength(1);
    expect(server.all("goodbye")).toHaveLength(1);
  });

  it("of an unknown kind are acknowledged, or they would come for ever, and reported", async () => {
    const server = await fakeServer();
    const { client } = agentOf(server);
    await client.start();
    server.stream.say({ case: "command", value: { sequence: 1n, kind: "selfDestruct" } });
    await server.hears("commandAcknowledgement", ({ sequences }) => sequences.includes(1n));
    const { said } = await server.hears("error");
    expect(said).toMatchObject({
      severity: Severity.WARNING,
      message: expect.stringContaining("selfDestruct"),
    });
  });
});

describe("errors", () => {
  it("are reported between heartbeats", async () => {
    const server = await fakeServer();
    const { client } = agentOf(server);
    await client.start();
    expect(await client.reportError({ severity: "major", message: "hot", context: { celsius: 99 } })).toBe(
      "error_1",
    );
    expect(server.all("error")[0]).toMatchObject({ severity: Severity.MAJOR, context: { celsius: 99 } });
    await expect(
      client.reportError({ severity: "info", message: "x", context: { x: "x".repeat(17_000) } }),
    ).rejects.toThrow(RangeError);
  });

  it("a fatal one goes out at once, stops all work, and lasts until recovery", async () => {
    const server = await fakeServer();
    server.intervalMs = 60_000;
    const { client, sees } = agentOf(server);
    server.answers.heartbeat = ({ error }) =>
      error === undefined ? {} : { taskFailures: { attempted: 1, requeued: 1, failed: 0 } };
    await client.start();
    void client.work({ work: endless });
    await server.hears("ready");
    await server.hears("heartbeat");
    server.assign({ id: taskId(1) });
    await sees("taskBegan");
    const counts = await client.fatal("driver lost", { device: 0 });
    expect(counts).toEqual({ attempted: 1, requeued: 1, failed: 0 });
    const beat = await server.hears("heartbeat", ({ error }) => error !== undefined);
    expect(beat.said).toMatchObject({
      status: AgentStatus.ERROR,
      error: { severity: Severity.FATAL, message: "driver lost" },
    });
    expect((await sees("taskDropped")).why.reason).toBe("fatal");
    client.recover();
    const well = await server.hears("heartbeat", ({ status }) => status === AgentStatus.ONLINE, beat.index);
    expect(well.said.session?.sequence).toBe(3n);
    expect(server.all("taskComplete").length + server.all("taskFail").length).toBe(0);
  });
});

describe("heartbeats", () => {
  it("tell all of the agent first, and again when the server asks for it", async () => {
    const server = await fakeServer();
    server.intervalMs = 50;
    const { client } = agentOf(server, {
      labels: { zone: "a" },
      capabilities: ["gpu"],
      deviceInfo: { cores: 2 },
    });
    server.answers.heartbeat = ({ session }) => ({ reportFullState: session?.sequence === 2n });
    await client.start();
    client.setGauges({ rate: 1.5 });
    await server.hears("heartbeat", ({ session }) => session?.sequence === 4n);
    const beats = server.all("heartbeat").slice(0, 4);
    expect(beats.map(({ session }) => session?.sequence)).toEqual([1n, 2n, 3n, 4n]);
    expect(beats.map(({ labels }) => labels.zone)).toEqual(["a", undefined, "a", undefined]);
    expect(beats.map(({ deviceInfo }) => deviceInfo)).toEqual([
      { cores: 2 },
      undefined,
      { cores: 2 },
      undefined,
    ]);
    expect(beats[3]?.gauges).toEqual({ rate: 1.5 });
    expect(() => client.setGauges({ rate: Number.NaN })).toThrow(RangeError);
  });

  it("go out at the interval that the server dictates", async () => {
    const server = await fakeServer();
    server.intervalMs = 150;
    const { client } = agentOf(server);
    await client.start();
    await server.hears("heartbeat", ({ session }) => session?.sequence === 5n);
    const times = server.heard.flatMap(({ request, atMs }) =>
      request.message.case === "heartbeat" ? [atMs] : [],
    );
    // One that a busy machine brings late is near the next: what holds is how long all of them took.
    expect((times[4] ?? 0) - (times[0] ?? 0)).toBeGreaterThan(300);
  });
});
