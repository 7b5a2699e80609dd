import { Code } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";
import { TaskFailedError, type TaskHandler, WorkStopped } from "../../src/agent-sdk/agent-client.ts";
import { taskId } from "./fake-session-server.ts";
import { agentOf, fakeServer } from "./with-agent.ts";

/** Work that goes on until it is told to stop. */
const endless: TaskHandler = (_task, { signal }) =>
  new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));

describe("a lease", () => {
  it("is accepted before the work begins", async () => {
    const server = await fakeServer();
    const { client, events } = agentOf(server);
    let begun = 0;
    server.answers.taskUpdate = () => {
      begun = events.filter(({ kind }) => kind === "taskBegan").length;
      return {};
    };
    await client.start();
    void client.work({ work: async () => 1 });
    await server.hears("ready");
    server.assign({ id: taskId(1) });
    await server.hears("taskComplete");
    expect(server.all("taskUpdate")[0]).toMatchObject({ task: taskId(1), leaseEpoch: 1n });
    expect(begun).toBe(0);
  });

  it("that was refused begins no work and leaves its slot free", async () => {
    const server = await fakeServer();
    const { client, events } = agentOf(server);
    server.answers.taskUpdate = () => ({
      refusal: { code: Code.FailedPrecondition, reason: "LEASE_LOST", message: "The lease has ended." },
    });
    await client.start();
    void client.work({ work: async () => 1 });
    const { index } = await server.hears("ready");
    server.assign({ id: taskId(1) });
    await server.hears("ready", ({ slots }) => slots === 1, index + 1);
    expect(events.some(({ kind }) => kind === "taskBegan")).toBe(false);
  });

  it("is renewed by every beat, and the others beside the task at hand", async () => {
    const server = await fakeServer();
    server.leaseMs = 600;
    server.intervalMs = 100;
    const { client, events } = agentOf(server);
    await client.start();
    void client.work({ work: endless }, { slots: 2 });
    await server.hears("ready", ({ slots }) => slots === 2);
    server.assign({ id: taskId(1) });
    server.assign({ id: taskId(2) });
    const first = await server.hears(
      "heartbeat",
      ({ currentTask, heldLeases }) =>
        currentTask?.taskId === taskId(1) && heldLeases.some((lease) => lease.taskId === taskId(2)),
    );
    // Twice the lease's length later the work still goes on.
    await server.hears("heartbeat", (_, { atMs }) => atMs > first.heard.atMs + 1200, first.index);
    expect(events.some(({ kind }) => kind === "taskStopping")).toBe(false);
  });

  it("ends the work, by its own clock, when the server stops answering", async () => {
    const server = await fakeServer();
    server.leaseMs = 700;
    const { client, sees } = agentOf(server, { timing: { silenceMs: 60_000 } });
    await client.start();
    void client.work({ work: endless });
    await server.hears("ready");
    server.answers.heartbeat = () => "silence";
    server.assign({ id: taskId(1) });
    const accepted = await server.hears("taskUpdate");
    const { why } = await sees("taskStopping");
    expect(why.reason).toBe("lease-lost");
    // Counted from before the acceptance was sent, which is before it was heard.
    expect(performance.now() - accepted.heard.atMs).toBeLessThan(700 + 100);
    await sees("taskDropped");
    expect(server.all("taskComplete").length + server.all("taskFail").length).toBe(0);
  });

  it("ends the work sooner by the time that it needs to stop", async () => {
    const server = await fakeServer();
    server.leaseMs = 1200;
    const { client, sees } = agentOf(server, { timing: { silenceMs: 60_000 } });
    await client.start();
    let leftMs = 0;
    const work: TaskHandler = (_task, { signal, leaseRemainingMs }) =>
      new Promise((_resolve, reject) =>
        signal.addEventListener("abort", () => {
          leftMs = leaseRemainingMs();
          reject(signal.reason);
        }),
      );
    void client.work({ work }, { stopAheadMs: 10_000 });
    await server.hears("ready");
    server.answers.heartbeat = () => "silence";
    server.assign({ id: taskId(1) });
    await sees("taskDropped");
    expect(leftMs).toBeGreaterThan(50);
    expect(leftMs).toBeLessThanOrEqual(200);
  });

  it("that the server took back ends the work", async () => {
    const server = await fakeServer();
    const { client, sees } = agentOf(server);
    await client.start();
    void client.work({ work: endless });
    await server.hears("ready");
    server.answers.heartbeat = ({ currentTask }) =>
      currentTask === undefined ? {} : { leases: [{ taskId: taskId(1), leaseEpoch: 1n, renewed: false }] };
    server.assign({ id: taskId(1) });
    expect((await sees("taskStopping")).why).toBeInstanceOf(WorkStopped);
    await sees("taskDropped");
  });

  it("past its end still lets a result that is there be judged by the server", async () => {
    const server = await fakeServer();
    server.leaseMs = 300;
    const { client, sees } = agentOf(server, { timing: { silenceMs: 60_000 } });
    await client.start();
    void client.work({
      work: (_task, { signal }) =>
        new Promise((resolve) => signal.addEventListener("abort", () => resolve("all the same"))),
    });
    await server.hears("ready");
    server.answers.heartbeat = () => "silence";
    server.answers.taskComplete = () => ({
      refusal: { code: Code.FailedPrecondition, reason: "LEASE_LOST", message: "The lease has ended." },
    });
    server.assign({ id: taskId(1) });
    expect(await sees("taskRefused")).toMatchObject({ reason: "LEASE_LOST" });
  });
});

describe("outcomes", () => {
  it.each<[string, TaskHandler, object]>([
    [
      "an error",
      async () => Promise.reject(new Error("disk full")),
      { error: { message: "disk full" }, retryable: true },
    ],
    [
      "a failure that no retry mends",
      async () => {
        throw new TaskFailedError("bad payload", { retryable: false, context: { line: 3 } });
      },
      { error: { message: "bad payload", context: { line: 3 } }, retryable: false },
    ],
    ["a result too large", async () => "x".repeat(300_000), { retryable: false }],
    ["a result too deep", async () => JSON.parse("[".repeat(70) + "]".repeat(70)), { retryable: false }],
    ["what is no JSON", async () => 1n, { retryable: false }],
  ])("%s fails the attempt", async (_name, work, said) => {
    const server = await fakeServer();
    const { client } = agentOf(server);
    await client.start();
    void client.work({ work });
    await server.hears("ready");
    server.assign({ id: taskId(1) });
    const failed = await server.hears("taskFail");
    expect(failed.said).toMatchObject(said);
    await server.hears("ready", ({ slots }) => slots === 1, failed.index);
  });

  it("a result that the server refuses becomes a failure, so that its task does not hang", async () => {
    const server = await fakeServer();
    const { client } = agentOf(server);
    server.answers.taskComplete = () => ({
      refusal: { code: Code.InvalidArgument, message: "result: holds NUL" },
    });
    await client.start();
    void client.work({ work: async () => "\0" });
    await server.hears("ready");
    server.assign({ id: taskId(1) });
    const { said } = await server.hears("taskFail");
    expect(said).toMatchObject({
      retryable: false,
      error: { message: "The result was refused: result: holds NUL" },
    });
  });

  it("an attempt that takes longer than its task allows fails", async () => {
    const server = await fakeServer();
    const { client } = agentOf(server);
    await client.start();
    void client.work({ work: endless });
    await server.hears("ready");
    server.assign({ id: taskId(1), timeoutMs: 100 });
    expect((await server.hears("taskFail")).said).toMatchObject({
      error: { message: "The attempt took longer than 0.1 s." },
      retryable: true,
    });
  });
});

it("progress is told now and then, the newest of it, and by the beats", async () => {
  const server = await fakeServer();
  const { client } = agentOf(server);
  await client.start();
  void client.work({
    work: async (_task, { progress, signal }) => {
      for (let step = 1; step <= 1000; step++) progress(step / 1000, `step ${step}`);
      await endless(undefined as never, { progress, signal, leaseRemainingMs: () => 0 });
    },
  });
  await server.hears("ready");
  server.assign({ id: taskId(1) });
  await server.hears("heartbeat", ({ currentTask }) => currentTask?.progress === 1);
  const last = await server.hears("taskUpdate", ({ progress }) => progress === 1);
  expect(last.said.detail).toBe("step 1000");
  expect(server.all("taskUpdate").length).toBeLessThan(5);
});

it("no more tasks are asked for than there are slots, also while tasks are on their way", async () => {
  const server = await fakeServer();
  const { client, events } = agentOf(server);
  let next = 0;
  let open = 0;
  let most = 0;
  // A server that gives all it may give at once.
  server.answers.ready = ({ slots }) => {
    for (let n = 0; n < slots && next < 60; n++) server.assign({ id: taskId(++next) });
  };
  await client.start();
  void client.work(
    {
      work: async (task) => {
        open += 1;
        most = Math.max(most, open);
        // Ends in another order than it began.
        for (let turn = Number(task.id.slice(-2)) % 5; turn > 0; turn--) await new Promise(setImmediate);
        open -= 1;
      },
    },
    { slots: 3 },
  );
  await server.until(() => server.all("taskComplete").length === 60);
  expect(most).toBeLessThanOrEqual(3);
  expect(events.filter(({ kind }) => kind === "notice")).toEqual([]);
});
