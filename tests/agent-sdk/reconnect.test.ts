import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";
import { AgentClient, memoryCredentialStore } from "../../src/agent-sdk/agent-client.ts";
import { taskId } from "./fake-session-server.ts";
import { agentOf, fakeServer } from "./with-agent.ts";

describe("a broken stream", () => {
  it("is replaced by another of the same session, which repeats what was not answered", async () => {
    const server = await fakeServer();
    const { client } = agentOf(server, { bootId: "boot-1" });
    server.answers.taskComplete = () => "silence";
    server.answers.heartbeat = () => "silence";
    await client.start();
    void client.work({ work: async () => "done" });
    await server.hears("ready");
    const beat = await server.hears("heartbeat");
    server.assign({ id: taskId(1) });
    await server.hears("taskComplete");
    server.answers = {};
    server.stream.end(new ConnectError("reset", Code.Unavailable));
    const second = await server.hears("taskComplete", (_, { stream }) => stream.number === 2);
    expect(second.said).toMatchObject({ task: taskId(1), leaseEpoch: 1n });
    const repeated = await server.hears("heartbeat", (_, { stream }) => stream.number === 2);
    expect(repeated.said.session).toMatchObject({ bootId: "boot-1", sequence: beat.said.session?.sequence });
    expect(server.all("hello").map(({ bootId }) => bootId)).toEqual(["boot-1", "boot-1"]);
    await server.hears("ready", ({ slots }, { stream }) => slots === 1 && stream.number === 2);
  });

  it("is noticed when the server just says nothing any more", async () => {
    const server = await fakeServer();
    const { client, sees } = agentOf(server, { timing: { silenceMs: 200 } });
    server.answers.heartbeat = () => (server.streams.length === 1 ? "silence" : {});
    await client.start();
    const { state } = await sees("state", (event) => event.state.kind === "waiting");
    expect(state).toMatchObject({ because: { message: `${server.url} does not answer any more.` } });
    await server.hears(
      "heartbeat",
      ({ session }, { stream }) => stream.number === 2 && session?.sequence === 1n,
    );
  });

  it("is opened again until a server is there", async () => {
    const server = await fakeServer();
    const { client, sees } = agentOf(server);
    await client.start();
    const { url } = server;
    await server.stop();
    await sees("state", ({ state }) => state.kind === "connecting" && state.attempt === 3);
    await server.start(Number(new URL(url).port));
    await server.hears("hello", (_, { stream }) => stream.number === 2);
  });
});

it("goes elsewhere when told to, after what was asked is answered", async () => {
  const server = await fakeServer();
  const { client, events } = agentOf(server);
  await client.start();
  const finish = Promise.withResolvers<string>();
  void client.work({ work: () => finish.promise }, { slots: 2 });
  await server.hears("ready", ({ slots }) => slots === 2);
  server.assign({ id: taskId(1) });
  await server.hears("heartbeat", ({ currentTask }) => currentTask?.taskId === taskId(1));
  server.stream.say({ case: "goElsewhere", value: { reason: "a new version" } });
  await server.hears("ready", ({ slots }, { stream }) => slots === 0 && stream.number === 1);
  const { said } = await server.hears("ready", (_, { stream }) => stream.number === 2);
  expect(said.slots).toBe(1);
  finish.resolve("done");
  await server.hears("taskComplete", (_, { stream }) => stream.number === 2);
  expect(events.filter(({ kind }) => kind === "taskStopping")).toEqual([]);
});

describe("a refusal for good", () => {
  it.each([
    [Code.PermissionDenied, "PERMISSION_DENIED"],
    [Code.Unimplemented, "UNIMPLEMENTED"],
    [Code.Unauthenticated, "UNAUTHENTICATED"],
  ])("with code %i ends the session and is told", async (code, status) => {
    const server = await fakeServer();
    server.answers.hello = (stream) => stream.end(new ConnectError("no", code));
    server.tokens = code === Code.Unauthenticated ? new Set() : undefined;
    const { client } = agentOf(server);
    await expect(client.start()).rejects.toMatchObject({ name: "AgentError", status });
    expect(await client.ended).toMatchObject({ kind: "refused", refusal: { code } });
    await expect(client.reportError({ severity: "info", message: "x" })).rejects.toThrow("does not run");
  });

  it("stops the work when a newer process takes the session over", async () => {
    const server = await fakeServer();
    const { client, sees } = agentOf(server);
    await client.start();
    void client.work({
      work: (_, { signal }) =>
        new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
    });
    await server.hears("ready");
    server.assign({ id: taskId(1) });
    await sees("taskBegan");
    server.answers.heartbeat = () => ({
      refusal: { code: Code.Aborted, reason: "SESSION_SUPERSEDED", message: "A newer run has begun." },
    });
    expect(await client.ended).toMatchObject({ kind: "refused", refusal: { reason: "SESSION_SUPERSEDED" } });
    expect((await sees("taskDropped")).why.reason).toBe("ended");
    expect(server.streams).toHaveLength(1);
  });
});

it("says that there is no token, and connects to nothing", async () => {
  const empty = { ...memoryCredentialStore(""), load: async () => undefined };
  const client = new AgentClient({ url: "http://127.0.0.1:1", credentials: empty });
  await expect(client.start()).rejects.toMatchObject({ status: "UNAUTHENTICATED" });
});

describe("leave", () => {
  it("lets work end, then says goodbye, and nothing after it", async () => {
    const server = await fakeServer();
    const { client, sees } = agentOf(server);
    await client.start();
    const finish = Promise.withResolvers<string>();
    void client.work({ work: () => finish.promise });
    await server.hears("ready");
    server.assign({ id: taskId(1) });
    await sees("taskBegan");
    const left = client.leave();
    server.assign({ id: taskId(2) });
    await sees("notice", ({ text }) => text.includes(taskId(2)));
    finish.resolve("done");
    expect(await left).toEqual({ kind: "left" });
    expect(server.heard.at(-1)?.request.message.case).toBe("goodbye");
    expect(server.all("taskComplete")).toHaveLength(1);
  });

  it("says goodbye again where the stream broke before anybody answered", async () => {
    const server = await fakeServer();
    const { client } = agentOf(server);
    await client.start();
    server.answers.goodbye = () => {
      server.answers = {};
      server.stream.end(new ConnectError("reset", Code.Unavailable));
      return "silence";
    };
    expect(await client.leave()).toEqual({ kind: "left" });
    expect(server.all("goodbye")).toHaveLength(2);
  });

  it("ends without a goodbye when no server hears it in time", async () => {
    const server = await fakeServer();
    const { client } = agentOf(server);
    await client.start();
    await server.stop();
    expect(await client.leave({ goodbyeWithinMs: 100 })).toEqual({ kind: "closed" });
  });
});
