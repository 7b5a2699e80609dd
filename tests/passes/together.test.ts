import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ControlPlaneProcess, spawnControlPlane } from "../helpers/control-plane.ts";
import { always, type FakeGitHub, startFakeGitHub, urlOf } from "../helpers/fake-github.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { usePasses } from "./pass-fixture.ts";

const bench = usePasses({ DROVER_TRACKER_TIMEOUT: "3s", DROVER_PASS_SYNC_TIMEOUT: "30s" });

test("ten trackers, one dead, one rate-limited, one slow: eight are synced, and the run says why not ten", async () => {
  const project = await bench.project();
  const names = Array.from({ length: 10 }, (_, index) => `ten/r${index}`);
  for (const name of names) {
    bench.github.put(name, [{ number: 1 }]);
    await project.tracker(name);
  }
  bench.github.misbehave("ten/r2", (_call, answer) => {
    answer.destroy();
    return true;
  });
  bench.github.misbehave("ten/r5", always(429, { "retry-after": "300" }));
  bench.github.misbehave("ten/r8", (call, answer) => {
    bench.github.misbehave("ten/r8", undefined);
    setTimeout(() => answer.writeHead(503).end(), 1_000);
    return call.path.length > 0;
  });
  const answer = await project.pass();
  expect(answer).toMatchObject({ status: "warning", errors: [] });
  expect(answer.summary).toContain("8 of 10 trackers synced");
  expect(answer.warnings).toEqual([
    expect.stringMatching(/^sync: tracker ten\/r2: it cannot be reached/),
    expect.stringMatching(/^sync: tracker ten\/r5: its rate limit is used up/),
  ]);
  const run = await project.rest("GET", `/api/v1/runs/${answer.runId}`);
  expect(run.body.warnings).toEqual(answer.warnings);
  const { trackers } = (await project.rest("GET", "/api/v1/trackers")).body;
  const states = trackers.map(({ syncState }: { syncState: string }) => syncState);
  expect(states.filter((state: string) => state === "synced")).toHaveLength(8);
  expect([states[2], states[5]]).toEqual(["failed", "rate_limited"]);
});

test("two passes at once share one sync, and the second says so", async () => {
  const project = await bench.project();
  bench.github.put("acme/shared", [{ number: 1 }]);
  await project.tracker("acme/shared");
  let letGo = () => {};
  const held = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  let arrived = false;
  bench.github.misbehave("acme/shared", (_call, answer) => {
    arrived = true;
    bench.github.misbehave("acme/shared", undefined);
    held.then(() => answer.writeHead(500).end());
    return true;
  });
  const first = project.pass();
  await waitFor(() => arrived, { what: "the first pass's call" });
  const second = project.pass();
  const running = async () => {
    const { body } = await project.rest("GET", "/api/v1/runs?status=running");
    return body.runs.length === 2;
  };
  await waitFor(running, { what: "two running runs" });
  letGo();
  const [one, two] = await Promise.all([first, second]);
  expect(one).toMatchObject({ status: "ok", touchedIssueUrls: [urlOf("acme/shared", 1)] });
  expect(two).toMatchObject({ status: "ok", touchedIssueUrls: [] });
  expect(two.summary).toContain("1 sync shared with another pass");
});

test("10,000 issues come in a first sync, and nothing is fetched again in the second", async () => {
  const project = await bench.project();
  const start = Date.parse("2024-01-01T00:00:00Z");
  const issues = Array.from({ length: 10_000 }, (_, index) => ({
    number: index + 1,
    updatedAt: new Date(start + Math.floor(index / 7) * 1000).toISOString().replace(".000", ""),
  }));
  bench.github.put("acme/many", issues);
  await project.tracker("acme/many");
  const answer = await project.pass();
  expect(answer.status).toBe("ok");
  expect(answer.summary).toContain("10000 issues touched");
  expect(answer.touchedIssueUrls).toHaveLength(1000);
  const [row] = await bench.server.database<{ count: number }>`
    SELECT count(*)::int AS count FROM issues WHERE url LIKE 'https://github.com/acme/many/%'`;
  expect(row?.count).toBe(10_000);
  bench.github.calls.length = 0;
  expect((await project.pass()).summary).toContain("0 issues fetched");
  expect(bench.github.calls).toHaveLength(1);
}, 120_000);

describe("a server that dies in the middle of a pass", () => {
  let github: FakeGitHub;
  let server: ControlPlaneProcess;
  beforeAll(async () => {
    github = await startFakeGitHub();
    server = await spawnControlPlane({ settings: { DROVER_TRACKER_ALLOWED_HOSTS: github.allowed } });
  }, 60_000);
  afterAll(async () => {
    await server.stop();
    await github.stop();
  });

  test("leaves a run that is found interrupted beside other servers, and a sync that goes on", async () => {
    const headers = {
      authorization: `Bearer ${server.operatorToken}`,
      "content-type": "application/json",
    };
    const call = async (at: { httpUrl: string }, method: string, path: string, body?: object) => {
      const init = { method, headers, ...(body !== undefined && { body: JSON.stringify(body) }) };
      return (await fetch(`${at.httpUrl}${path}`, init)).json() as Promise<Record<string, never>>;
    };
    const other = await spawnControlPlane({
      on: server.home,
      settings: { DROVER_TRACKER_ALLOWED_HOSTS: github.allowed },
    });
    try {
      const issues = Array.from({ length: 150 }, (_, index) => ({
        number: index + 1,
        updatedAt: new Date(Date.parse("2024-01-01T00:00:00Z") + index * 1000)
          .toISOString()
          .replace(".000", ""),
      }));
      github.put("acme/dies", issues);
      await call(server, "POST", "/api/v1/trackers", { repository: "acme/dies", baseUrl: github.url });
      let calls = 0;
      let isHanging = false;
      github.misbehave("acme/dies", () => {
        calls += 1;
        isHanging = calls === 2;
        return calls >= 2;
      });
      const pass = call(server, "POST", "/api/agents/cron/heartbeat").catch(() => undefined);
      await waitFor(() => isHanging, { what: "the second page's call" });
      // A run that is at work is left alone by the other server.
      const [before] = (await call(other, "GET", "/api/v1/runs")).runs as unknown as {
        status: string;
        id: string;
      }[];
      expect(before?.status).toBe("running");
      server.kill("SIGKILL");
      await server.exited;
      await pass;
      const found = async () => {
        const run = await call(other, "GET", `/api/v1/runs/${before?.id}`);
        return run.status === "running" ? undefined : run;
      };
      const run = await waitFor(found, { what: "an interrupted run", timeoutMs: 30_000 });
      expect(run).toMatchObject({
        status: "interrupted",
        errors: ["the server that ran this pass died in the middle"],
        finishedAt: expect.any(String),
      });
      github.misbehave("acme/dies", undefined);
      github.calls.length = 0;
      const next = await call(other, "POST", "/api/agents/cron/heartbeat");
      expect(next).toMatchObject({ status: "ok" });
      expect(github.calls[0]?.query.get("since")).toBe("2024-01-01T00:01:39Z");
      const [row] = await other.database<{ count: number }>`SELECT count(*)::int AS count FROM issues`;
      expect(row?.count).toBe(150);
    } finally {
      await other.stop();
    }
  }, 120_000);
});
