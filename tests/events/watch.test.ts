import { Code, type ConnectError } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.js";
import { enrollAgent } from "../helpers/fleet-api.ts";
import { type Stage, setStage } from "../helpers/stage.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { watchEvents } from "./watch-client.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await setStage();
});
afterAll(async () => {
  await stage.close();
});

const reasonOf = (outcome: ConnectError | "end") =>
  outcome === "end" ? "end" : (outcome.findDetails(ErrorInfoSchema)[0]?.reason ?? Code[outcome.code]);

describe("a watch", () => {
  test("starts now with a bookmark, then brings what happens, in order", async () => {
    const watch = watchEvents(stage.operator);
    await watch.open();
    expect(watch.events[0]).toMatchObject({ type: "bookmark", subject: "" });
    const agent = await enrollAgent(stage.fleet, stage.operator);
    await waitFor(() => watch.facts().length >= 3, { what: "the enrollment" });
    expect(watch.facts().map(({ type }) => type)).toEqual([
      "token.created",
      "agent.enrolled",
      "token.created",
    ]);
    const [, enrolled] = watch.facts();
    expect(enrolled).toMatchObject({ subject: `agent_${agent.uuid}`, data: { agent: agent.name } });
    expect(Number(enrolled?.time?.seconds ?? 0)).toBeGreaterThan(1_600_000_000);
    watch.cancel();
  });

  test("resumed from any cursor brings exactly what follows it", async () => {
    const { events } = await stage.operator.events.listEvents({ pageSize: 1000 });
    const third = events[2]?.cursor ?? "";
    const watch = watchEvents(stage.operator, { after: third });
    await waitFor(() => watch.facts().length >= events.length - 3, { what: "the rest" });
    expect(watch.facts().map(({ cursor }) => cursor)).toEqual(events.slice(3).map(({ cursor }) => cursor));
    watch.cancel();
    const nothing = watchEvents(stage.operator, { after: events.at(-1)?.cursor ?? "" });
    await nothing.open();
    expect(nothing.events).toMatchObject([{ type: "bookmark", cursor: events.at(-1)?.cursor }]);
    nothing.cancel();
  });

  test("brings what its filters let through, and bookmarks for the rest", async () => {
    const [one, two] = [
      await enrollAgent(stage.fleet, stage.operator),
      await enrollAgent(stage.fleet, stage.operator),
    ];
    const byName = watchEvents(stage.operator, { types: ["agent.*"], agents: [one.name] });
    const byId = watchEvents(stage.operator, { agents: [`agent_${two.uuid}`] });
    await Promise.all([byName.open(), byId.open()]);
    await stage.fleet.agent(one.token).heartbeat({ status: AgentStatus.ONLINE });
    await stage.fleet.agent(two.token).heartbeat({ status: AgentStatus.ONLINE });
    await waitFor(() => byId.facts().length >= 2, { what: "the second agent's events" });
    await waitFor(() => byName.cursor() === byId.facts().at(-1)?.cursor, { what: "a bookmark" });
    expect(byName.facts().map(({ type }) => type)).toEqual([
      "agent.liveness_changed",
      "agent.status_changed",
    ]);
    expect(byName.events.at(-1)?.type).toBe("bookmark");
    expect(new Set(byId.facts().map(({ subject }) => subject))).toEqual(new Set([`agent_${two.uuid}`]));
    byName.cancel();
    byId.cancel();
  });

  test.each([
    ["never was", "99.1", "CURSOR_FOREIGN", Code.OutOfRange],
    ["text for an epoch", "epoch-of-another.7", "CURSOR_FOREIGN", Code.OutOfRange],
    ["no cursor", "yesterday", "InvalidArgument", Code.InvalidArgument],
    ["too large", `1.${"9".repeat(19)}`, "InvalidArgument", Code.InvalidArgument],
    ["ahead", "", "CURSOR_AHEAD", Code.OutOfRange],
  ])("refuses a cursor that %s", async (what, text, reason, code) => {
    const { cursor } = await stage.operator.events.listEvents({ pageSize: 1 });
    const after = what === "ahead" ? cursor.replace(/\d+$/, (seq) => `${BigInt(seq) + 1000n}`) : text;
    const outcome = await watchEvents(stage.operator, { after }).ended();
    expect(reasonOf(outcome)).toBe(reason);
    expect(outcome).toMatchObject({ code });
    const listed: unknown = await stage.operator.events
      .listEvents({ after })
      .catch((error: unknown) => error);
    expect(listed).toMatchObject({ code });
  });

  test.each([
    ["types[0]", { types: ["task.exploded"] }],
    ["types[1]", { types: ["task.*", "*"] }],
    ["agents[0]", { agents: ["no name"] }],
    ["tasks[0]", { tasks: ["task_1"] }],
  ])("refuses a filter that can match nothing, by its name: %s", async (field, wish) => {
    const outcome = await watchEvents(stage.operator, wish).ended();
    expect(outcome).toMatchObject({ code: Code.InvalidArgument });
    expect(String(outcome)).toContain(field);
  });

  test("ends when its token is revoked, and when the server stops; nothing of another project comes", async () => {
    await stage.operator.projects.createProject({ name: "far" });
    const far = stage.fleet.operator(stage.operatorToken, "far");
    const made = await far.tokens.createToken({ role: 5 });
    const viewer = stage.fleet.operator(made.secret);
    const watch = watchEvents(viewer, {});
    await watch.open();
    await enrollAgent(stage.fleet, stage.operator);
    const other = watchEvents(stage.operator);
    await other.open();
    await far.tokens.revokeToken({ token: made.token?.id ?? "" });
    expect(await watch.ended()).toMatchObject({ code: Code.Unauthenticated });
    expect(watch.facts().every(({ type }) => type === "token.revoked")).toBe(true);
    await stage.server.stop();
    expect(await other.ended()).toMatchObject({ code: Code.Unavailable });
    await stage.restart();
    const resumed = watchEvents(stage.operator, { after: other.cursor() });
    await resumed.open();
    resumed.cancel();
  });
});

describe("the list of events", () => {
  test("has what its caller did before, pages in both directions, and ties a token to its list", async () => {
    const agent = await enrollAgent(stage.fleet, stage.operator);
    const newest = await stage.operator.events.listEvents({ orderBy: "time desc", pageSize: 2 });
    expect(newest.events.map(({ type, subject }) => [type, subject])).toMatchObject([
      ["token.created", expect.any(String)],
      ["agent.enrolled", `agent_${agent.uuid}`],
    ]);
    const all = await stage.operator.events.listEvents({ pageSize: 1000 });
    for (const orderBy of ["time", "time desc"]) {
      const seen: string[] = [];
      let pageToken = "";
      do {
        const page = await stage.operator.events.listEvents({ orderBy, pageSize: 3, pageToken });
        seen.push(...page.events.map(({ cursor }) => cursor));
        pageToken = page.nextPageToken;
      } while (pageToken !== "");
      const expected = all.events.map(({ cursor }) => cursor);
      expect(seen).toEqual(orderBy === "time" ? expected : expected.reverse());
    }
    const filtered = await stage.operator.events.listEvents({ types: ["agent.enrolled"], pageSize: 1 });
    expect(filtered.events).toHaveLength(1);
    await expect(
      stage.operator.events.listEvents({ pageToken: filtered.nextPageToken }),
    ).rejects.toMatchObject({ code: Code.InvalidArgument });
    const behind = await stage.operator.events.listEvents({ after: all.events[4]?.cursor ?? "" });
    expect(behind.events[0]?.cursor).toBe(all.events[5]?.cursor);
  });
});
