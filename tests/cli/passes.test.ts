import { describe, expect, it } from "vitest";
import { fakeServer, runAgainst } from "./with-fake-server.ts";

const runId = "run_01900000-0000-7000-8000-000000000000";
const trackerId = "tracker_01900000-0000-7000-8000-000000000000";
const pass = {
  status: "warning",
  summary: "done",
  warnings: ["sync: slow"],
  errors: [],
  touchedIssueUrls: ["https://github.com/a/b/issues/1"],
  runId,
};

describe("pass", () => {
  it.each([
    ["pass", "gpu-1"],
    ["pass", "run", "gpu-1"],
  ])("%s %s … runs one for that name", async (...args) => {
    const server = await fakeServer(() => ({ json: pass }));
    const ran = await runAgainst(server, args);
    expect(ran).toEqual({
      code: 0,
      stdout: "https://github.com/a/b/issues/1\n",
      stderr: `warning: sync: slow\nwarning: done (${runId})\n`,
    });
    expect(server.requests[0]).toMatchObject({ method: "POST", path: "/api/agents/gpu-1/heartbeat" });
  });

  it("ends with 1 where the pass ended with an error, with --json too", async () => {
    const body = JSON.stringify({ ...pass, status: "error", errors: ["no tracker"] });
    const server = await fakeServer(() => ({ text: body }));
    expect(await runAgainst(server, ["pass", "gpu-1", "--json"])).toEqual({
      code: 1,
      stdout: `${body}\n`,
      stderr: "",
    });
  });

  it("sends no name that a path would not keep", async () => {
    const server = await fakeServer(() => ({ json: pass }));
    expect((await runAgainst(server, ["pass", ".."])).code).toBe(2);
    expect(server.requests).toEqual([]);
  });
});

describe("runs", () => {
  it("list with the contract's filters", async () => {
    const run = {
      id: runId,
      agentName: "gpu-1",
      status: "ok",
      startedAt: "2030-01-31T08:00:00Z",
      summary: "fine",
    };
    const server = await fakeServer(() => ({ json: { runs: [run] } }));
    const args = ["runs", "--agent", "gpu-1", "--status", "ok", "--status", "error", "--since", "2030-01-31"];
    const ran = await runAgainst(server, args);
    expect(ran.stdout).toContain(`${runId}  gpu-1  ok      2030-01-31 08:00:00Z  0         0       fine`);
    expect([...(server.requests[0]?.query ?? [])]).toEqual([
      ["agent", "gpu-1"],
      ["status", "ok"],
      ["status", "error"],
      ["since", "2030-01-31T00:00:00.000Z"],
      ["pageSize", "100"],
    ]);
  });

  it("show one with its steps", async () => {
    const steps = [{ name: "sync", status: "warning", duration: "1.5s", summary: "1 issue fetched" }];
    const server = await fakeServer(() => ({ json: { id: runId, steps, warnings: ["slow"] } }));
    const ran = await runAgainst(server, ["runs", "get", runId]);
    expect(ran.stdout).toMatch(/step sync +warning after 1\.5s: 1 issue fetched\n/);
    expect(server.requests[0]?.path).toBe(`/api/v1/runs/${runId}`);
  });
});

describe("trackers", () => {
  it.each(["create", "add"])("%s prints the id alone, and sends a rule whole", async (verb) => {
    const server = await fakeServer(() => ({ json: { id: trackerId } }));
    const flags = "--base-url https://ghe.example.com/api/v3 --credential env:T --rule-label l --rule-kind k";
    const args = ["trackers", verb, "github", "a/b", ...flags.split(" "), "--rule-priority", "9"];
    expect(await runAgainst(server, args)).toMatchObject({ code: 0, stdout: `${trackerId}\n` });
    expect(server.requests[0]).toMatchObject({
      method: "POST",
      path: "/api/v1/trackers",
      body: {
        kind: "github",
        repository: "a/b",
        baseUrl: "https://ghe.example.com/api/v3",
        credential: "env:T",
        rule: { label: "l", taskKind: "k", priority: 9 },
      },
    });
  });

  it("refuse half a rule, and a rule beside none", async () => {
    const server = await fakeServer(() => ({ json: {} }));
    expect((await runAgainst(server, ["trackers", "add", "github", "a/b", "--rule-label", "l"])).code).toBe(
      2,
    );
    const both = ["--rule-label", "l", "--rule-kind", "k", "--no-rule"];
    expect((await runAgainst(server, ["trackers", "update", trackerId, ...both])).code).toBe(2);
    expect(server.requests).toEqual([]);
  });

  it("update sends what was given and nothing else", async () => {
    const server = await fakeServer(() => ({ json: { id: trackerId } }));
    await runAgainst(server, ["trackers", "update", trackerId, "--enabled"]);
    await runAgainst(server, ["trackers", "update", trackerId, "--no-rule"]);
    const bodies = server.requests.map(({ body }) => ({ ...(body as object), requestId: "" }));
    expect(bodies).toEqual([
      { disabled: false, requestId: "" },
      { noRule: true, requestId: "" },
    ]);
    expect(server.requests[0]).toMatchObject({ method: "PATCH", path: `/api/v1/trackers/${trackerId}` });
  });

  it("delete, and list issues by the contract's names", async () => {
    const server = await fakeServer(() => ({ json: {} }));
    await runAgainst(server, ["trackers", "delete", trackerId]);
    const issues = ["trackers", "issues", "--tracker", trackerId, "--state", "open", "--label", "a,b"];
    expect((await runAgainst(server, issues)).stderr).toBe("No issues.\n");
    expect(server.requests.map(({ method, path }) => [method, path])).toEqual([
      ["DELETE", `/api/v1/trackers/${trackerId}`],
      ["GET", "/api/v1/issues"],
    ]);
    expect(server.requests[1]?.query.getAll("labels")).toEqual(["a,b"]);
  });
});
