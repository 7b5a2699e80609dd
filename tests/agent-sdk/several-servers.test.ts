import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";
import { ServerChoice } from "../../src/agent-sdk/server-choice.ts";
import type { FakeSessionServer } from "./fake-session-server.ts";
import { agentOf, fakeServer } from "./with-agent.ts";

describe("an agent of several servers", () => {
  /** Which of two servers hears the first hello, and which is the other. */
  async function chosen(servers: FakeSessionServer[]): Promise<[FakeSessionServer, FakeSessionServer]> {
    const [one, two] = servers;
    if (one === undefined || two === undefined) throw new Error("there are two");
    await Promise.race([one.hears("hello"), two.hears("hello")]);
    return one.all("hello").length > 0 ? [one, two] : [two, one];
  }

  it("goes on with the same run at another when one sends it away", async () => {
    const servers = [await fakeServer(), await fakeServer()];
    const url = servers.map((server) => server.url);
    const { client } = agentOf(servers[0] as FakeSessionServer, { url, bootId: "boot-1" });
    await client.start();
    const [first, second] = await chosen(servers);
    first.stream.say({ case: "goElsewhere", value: { reason: "the server is stopping" } });
    const { said } = await second.hears("hello");
    expect(said.bootId).toBe("boot-1");
    expect(first.all("hello")).toHaveLength(1);
  });

  it("turns to another when one is lost, and comes back when that one is lost too", async () => {
    const servers = [await fakeServer(), await fakeServer()];
    const url = servers.map((server) => server.url).join(",");
    const { client } = agentOf(servers[0] as FakeSessionServer, { url });
    await client.start();
    const [first, second] = await chosen(servers);
    first.stream.end(new ConnectError("reset", Code.Unavailable));
    await second.hears("hello");
    second.stream.end(new ConnectError("reset", Code.Unavailable));
    await first.hears("hello", (_, { stream }) => stream.number === 2);
  });

  it("leaves one that answers, and only that it cannot serve", async () => {
    const servers = [await fakeServer(), await fakeServer()];
    const url = servers.map((server) => server.url);
    const refusal = { code: Code.Unavailable, message: "the database cannot be reached" };
    const opened = () => servers.reduce((sum, { streams }) => sum + streams.length, 0);
    for (const { answers } of servers)
      answers.heartbeat = () => (opened() === 1 ? { refusal } : { acknowledged: true });
    const { client, sees } = agentOf(servers[0] as FakeSessionServer, { url, timing: { silenceMs: 300 } });
    await client.start();
    const [first, second] = await chosen(servers);
    const { said } = await second.hears("heartbeat");
    expect(said.session?.sequence).toBe(1n);
    expect(first.all("hello")).toHaveLength(1);
    const { state } = await sees("state", (event) => event.state.kind === "waiting");
    expect(state).toMatchObject({ because: { message: expect.stringContaining(refusal.message) } });
  });

  it("is not kept by one that is not there", async () => {
    const server = await fakeServer();
    for (let time = 0; time < 5; time += 1) {
      const { client } = agentOf(server, { url: ["http://127.0.0.1:1", server.url], bootId: `boot-${time}` });
      await client.start();
      await client.close();
    }
    expect(server.all("hello").length).toBe(5);
  });
});

it("a fleet spreads over its servers", () => {
  const url = "http://a, http://b,http://c,http://a";
  const of = (random: number) => new ServerChoice({ url }, random);
  expect([0, 0.5, 0.99].map((random) => of(random).current.url)).toEqual([
    "http://a",
    "http://b",
    "http://c",
  ]);
  // Those that lose one of them do not all turn to the same.
  const after = [of(0.7), of(0.99)].map((choice) => {
    const met = [choice.current.url];
    for (let turn = 0; turn < 3; turn += 1) {
      choice.moveOn();
      met.push(choice.current.url);
    }
    return met;
  });
  expect(after).toEqual([
    ["http://c", "http://a", "http://b", "http://c"],
    ["http://c", "http://b", "http://a", "http://c"],
  ]);
  expect(() => new ServerChoice({ url: " , " }, 0)).toThrow("address");
});
