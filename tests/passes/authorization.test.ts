import { describe, expect, test } from "vitest";
import { usePasses } from "./pass-fixture.ts";

const bench = usePasses();

async function post(path: string, token: string | undefined, init: RequestInit = {}): Promise<Response> {
  const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const headers = { ...authorization, ...(init.headers as Record<string, string> | undefined) };
  return await fetch(`${bench.server.httpUrl}${path}`, { method: "POST", ...init, headers });
}

async function tokenOf(role: string): Promise<string> {
  return (await bench.rest("POST", "/api/v1/tokens", { role })).body.secret;
}

const runCount = async () => {
  const [row] = await bench.server.database<{ count: number }>`SELECT count(*)::int AS count FROM runs`;
  return row?.count;
};

describe("who may", () => {
  test("an agent its own name; a runner and an operator any that is well formed; nobody else", async () => {
    const enrollment = await tokenOf("enrollment");
    const enrolled = await bench.rest("POST", "/api/v1/agents:enroll", { name: "gpu-1" }, enrollment);
    const agent: string = enrolled.body.secret;
    const runner = await tokenOf("runner");
    const cases: [string, string | undefined, number][] = [
      ["gpu-1", undefined, 401],
      ["gpu-1", "drv_agt_x_y_z", 401],
      ["gpu-1", await tokenOf("viewer"), 403],
      ["gpu-1", await tokenOf("enrollment"), 403],
      ["gpu-2", agent, 403],
      ["GPU-1", agent, 403],
      ["a%20b", runner, 400],
      ["a%2Fb", runner, 400],
      ["x".repeat(129), runner, 400],
      [".x", runner, 400],
    ];
    const before = await runCount();
    for (const [name, token, status] of cases) {
      expect([name, (await post(`/api/agents/${name}/heartbeat`, token)).status]).toEqual([name, status]);
    }
    expect(await runCount()).toBe(before);
    const good: [string, string][] = [
      ["gpu-1", agent],
      ["gpu-1", runner],
      ["never-enrolled", runner],
      ["x".repeat(128), runner],
      ["never-enrolled", bench.server.operatorToken],
    ];
    for (const [agentName, token] of good) {
      const answer = await post(`/api/agents/${agentName}/heartbeat`, token);
      expect(answer.status).toBe(200);
      expect(await answer.json()).toMatchObject({ agentName, status: "error" });
    }
    expect((await bench.rest("GET", "/api/v1/runs", undefined, agent)).status).toBe(403);
    expect((await bench.rest("GET", "/api/v1/runs", undefined, await tokenOf("viewer"))).status).toBe(200);
  });

  test("runs are told to their project alone", async () => {
    const [one, two] = [await bench.project(), await bench.project()];
    const { runId } = await one.pass();
    expect((await one.rest("GET", `/api/v1/runs/${runId}`)).status).toBe(200);
    expect((await two.rest("GET", `/api/v1/runs/${runId}`)).status).toBe(404);
    expect((await two.rest("GET", "/api/v1/runs")).body.runs).toEqual([]);
    const tracker = await one.tracker("acme/none");
    for (const method of ["GET", "DELETE"]) {
      expect((await two.rest(method, `/api/v1/trackers/${tracker}`)).status).toBe(404);
    }
    expect((await two.rest("PATCH", `/api/v1/trackers/${tracker}`, { disabled: true })).status).toBe(404);
    expect((await one.rest("GET", `/api/v1/trackers/${tracker}`)).body.disabled).toBe(false);
  });
});

test.each([
  ["nothing", undefined, undefined],
  ["{}", "{}", "application/json"],
  ["any JSON", '[1,{"agentName":"other","nothing":null}]', "application/json"],
  ["broken JSON", '{"a":', "application/json"],
  ["a body without a type", "x=1", ""],
  ["a form", "a=1&b=2", "application/x-www-form-urlencoded"],
  ["XML", "<a/>", "text/xml"],
  ["bytes", Buffer.from([0, 255, 254]), "application/octet-stream"],
])("%s is a good body", async (_what, body, type) => {
  const headers: Record<string, string> = type === undefined ? {} : { "content-type": type };
  const answer = await post("/api/agents/cron/heartbeat", bench.server.operatorToken, {
    headers,
    ...(body !== undefined && { body }),
  });
  expect(answer.status).toBe(200);
  expect(await answer.json()).toMatchObject({ agentName: "cron", status: "error" });
});

test("a rule and none at once are refused by name", async () => {
  const project = await bench.project();
  const tracker = await project.tracker("acme/both");
  const both = { rule: { label: "l", taskKind: "k" }, noRule: true };
  const { status, body } = await project.rest("PATCH", `/api/v1/trackers/${tracker}`, both);
  expect([status, body.error.message]).toEqual([400, "no_rule: must not be given beside rule"]);
});

test("only the server's own operator gives credentials, and no answer, row or log holds one", async () => {
  const project = await bench.project();
  const made = await project.rest("POST", "/api/v1/tokens", { role: "operator" });
  const own: string = made.body.secret;
  process.env.DROVER_TEST_SECRET = "ghp_plantedSecret123";
  bench.github.put("acme/secret", [{ number: 1 }]);
  const wish = { repository: "acme/secret", baseUrl: bench.github.url, credential: "env:DROVER_TEST_SECRET" };
  expect((await bench.rest("POST", "/api/v1/trackers", wish, own)).status).toBe(403);
  const tracker = await project.tracker("acme/secret", { credential: wish.credential });
  const taking = { credential: "" };
  expect((await bench.rest("PATCH", `/api/v1/trackers/${tracker}`, taking, own)).status).toBe(403);
  expect((await bench.rest("PATCH", `/api/v1/trackers/${tracker}`, { disabled: false }, own)).status).toBe(
    200,
  );
  const pass = await project.pass();
  expect(bench.github.calls[0]?.authorization).toBe("token ghp_plantedSecret123");
  const shown = await project.rest("GET", `/api/v1/trackers/${tracker}`);
  const rows = await bench.server.database`
    SELECT to_jsonb(t)::text AS row FROM trackers t UNION ALL SELECT to_jsonb(r)::text FROM runs r
    UNION ALL SELECT to_jsonb(i)::text FROM issues i UNION ALL SELECT to_jsonb(a)::text FROM audit_entries a`;
  const all = JSON.stringify([pass, shown.body, rows]) + bench.server.output();
  expect(all).toContain("env:DROVER_TEST_SECRET");
  expect(all).not.toContain("plantedSecret");
  delete process.env.DROVER_TEST_SECRET;
});
