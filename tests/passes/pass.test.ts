import { describe, expect, test } from "vitest";
import { always, urlOf } from "../helpers/fake-github.ts";
import { usePasses } from "./pass-fixture.ts";

const bench = usePasses({ DROVER_TRACKER_TIMEOUT: "2s" });
const names = [
  "agentName",
  "errors",
  "finishedAt",
  "runId",
  "startedAt",
  "status",
  "summary",
  "touchedIssueUrls",
  "warnings",
];

describe("a pass", () => {
  test("without a tracker is an error, said so, and recorded", async () => {
    const project = await bench.project();
    const answer = await project.pass();
    expect(Object.keys(answer).sort()).toEqual(names);
    expect(answer).toMatchObject({
      status: "error",
      agentName: "nobody",
      warnings: [],
      touchedIssueUrls: [],
    });
    expect(answer.errors).toEqual(["sync: no tracker is configured, so that there was nothing to sync"]);
    const run = await project.rest("GET", `/api/v1/runs/${answer.runId}`);
    expect(run.body).toMatchObject({ id: answer.runId, status: "error", agentName: "nobody" });
    expect(run.body.steps.map((step: { name: string; status: string }) => [step.name, step.status])).toEqual([
      ["sync", "error"],
      ["reconcile", "ok"],
    ]);
  });

  test("fetches issues, tells pull requests from them, and has nothing to fetch the next time", async () => {
    const project = await bench.project();
    bench.github.put("acme/first", [
      { number: 1, labels: ["bug"] },
      { number: 2, pullRequest: true, updatedAt: "2024-01-02T00:00:00Z" },
      { number: 3, state: "closed", updatedAt: "2024-01-03T00:00:00Z" },
    ]);
    const tracker = await project.tracker("acme/first");
    const answer = await project.pass();
    expect(answer).toMatchObject({ status: "ok", warnings: [], errors: [] });
    expect(answer.touchedIssueUrls).toEqual([urlOf("acme/first", 1), urlOf("acme/first", 3)]);
    const { body } = await project.rest("GET", "/api/v1/issues?orderBy=updated_at");
    expect(body.issues).toMatchObject([
      { tracker, number: "1", state: "open", labels: ["bug"], author: "octocat", title: "Issue 1" },
      { tracker, number: "3", state: "closed", closedAt: "2024-01-03T00:00:00Z" },
    ]);
    bench.github.calls.length = 0;
    const again = await project.pass();
    expect(again).toMatchObject({ status: "ok", touchedIssueUrls: [] });
    expect(bench.github.calls).toHaveLength(1);
    expect(bench.github.calls[0]?.etag).toBeDefined();
    expect(again.summary).toContain("0 issues fetched");
  });

  test("takes up what changed, across pages and moments that many issues share", async () => {
    const project = await bench.project();
    const all = Array.from({ length: 350 }, (_, index) => ({
      number: index + 1,
      // More of one moment than a page holds.
      updatedAt:
        index < 230 ? "2024-01-01T00:00:00Z" : `2024-01-02T00:00:${String(index % 60).padStart(2, "0")}Z`,
    }));
    bench.github.put("acme/pages", all);
    await project.tracker("acme/pages");
    expect((await project.pass()).summary).toContain("350 issues touched");
    bench.github.put("acme/pages", [{ number: 7, title: "Other", updatedAt: "2024-02-01T00:00:00Z" }]);
    expect((await project.pass()).touchedIssueUrls).toEqual([urlOf("acme/pages", 7)]);
    const { body } = await project.rest("GET", "/api/v1/issues?pageSize=1000");
    expect(body.issues).toHaveLength(350);
    expect(body.issues[0]).toMatchObject({ number: "7", title: "Other" });
  });

  test("warns of a tracker that fails, and is an error where all do", async () => {
    const project = await bench.project();
    bench.github.put("acme/good", [{ number: 1 }]);
    await project.tracker("acme/missing");
    expect(await project.pass()).toMatchObject({
      status: "error",
      warnings: [expect.stringMatching(/^sync: tracker acme\/missing: it knows no such repository.*404/)],
      errors: ["sync: every tracker failed (1 of 1)"],
    });
    await project.tracker("acme/good");
    const answer = await project.pass();
    expect(answer).toMatchObject({
      status: "warning",
      errors: [],
      touchedIssueUrls: [urlOf("acme/good", 1)],
    });
    expect(answer.warnings).toHaveLength(1);
  });

  test("leaves a tracker alone while its rate limit is used up", async () => {
    const project = await bench.project();
    bench.github.put("acme/limited", [{ number: 1 }]);
    const reset = String(Math.floor(Date.now() / 1000) + 600);
    bench.github.misbehave(
      "acme/limited",
      always(403, { "x-ratelimit-remaining": "0", "x-ratelimit-reset": reset }),
    );
    const tracker = await project.tracker("acme/limited");
    const answer = await project.pass();
    expect(answer).toMatchObject({ status: "warning", errors: [] });
    expect(answer.warnings[0]).toMatch(/its rate limit is used up; the next call is allowed in \d{3} s/);
    bench.github.misbehave("acme/limited", undefined);
    bench.github.calls.length = 0;
    expect(await project.pass()).toMatchObject({ status: "warning" });
    expect(bench.github.calls).toEqual([]);
    const shown = await project.rest("GET", `/api/v1/trackers/${tracker}`);
    expect(shown.body).toMatchObject({ syncState: "rate_limited" });
    expect(Date.parse(shown.body.rateLimitedUntil)).toBeGreaterThan(Date.now() + 500_000);
  });
});
