import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startDrover } from "../helpers/run-drover.ts";
import { refusal } from "./fake-rest-server.ts";
import { fakeServer, runAgainst } from "./with-fake-server.ts";

const id = "task_01900000-0000-7000-8000-000000000000";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "drover-cli-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe("tasks", () => {
  it("lists by state, kind, agent and label", async () => {
    const task = {
      id,
      kind: "hash",
      state: "running",
      priority: 5,
      attempt: 2,
      agent: "gpu-1",
      progress: 0.42,
      detail: "half",
    };
    const server = await fakeServer(() => ({ json: { tasks: [task] } }));
    const flags =
      "--state running --state failed --kind hash --agent gpu-1 --label zone=a --order-by created_at";
    const ran = await runAgainst(server, ["tasks", ...flags.split(" ")]);
    expect(ran.code).toBe(0);
    expect(ran.stdout).toMatch(new RegExp(`^${id} +hash +running +5 +2 +gpu-1 +- +42 % half$`, "m"));
    const { query } = server.requests[0] ?? {};
    expect(query?.getAll("state")).toEqual(["running", "failed"]);
    expect(query?.getAll("labels")).toEqual(["zone=a"]);
    expect(query?.get("agent")).toBe("gpu-1");
  });

  it("create prints the id alone on standard output, and sends what was asked", async () => {
    const server = await fakeServer(() => ({ json: { id, state: "pending" } }));
    const flags = "--kind hash --priority 8 --max-retries 0 --attempt-timeout 1h30m --label a=b".split(" ");
    const ran = await runAgainst(server, [
      "tasks",
      "create",
      ...flags,
      "--payload",
      '{"file":"x","__proto__":1}',
    ]);
    expect(ran).toMatchObject({ code: 0, stdout: `${id}\n` });
    expect(server.requests[0]).toMatchObject({ method: "POST", path: "/api/v1/tasks" });
    expect(server.requests[0]?.body).toMatchObject({
      kind: "hash",
      priority: 8,
      maxRetries: 0,
      timeout: "5400s",
      labels: { a: "b" },
      requestId: expect.any(String),
    });
    expect(JSON.stringify(server.requests[0]?.body)).toContain('"payload":{"file":"x","__proto__":1}');
  });

  it("create takes its payload from a file or from standard input", async () => {
    const server = await fakeServer(() => ({ json: { id, state: "pending" } }));
    writeFileSync(join(folder, "payload.json"), "[1, 2]");
    await runAgainst(server, ["tasks", "create", "--kind", "k", "--payload", "@payload.json"], {
      cwd: folder,
    });
    expect(server.requests[0]?.body).toMatchObject({ payload: [1, 2] });
    const env = { DROVER_URL: server.url, DROVER_TOKEN: "drv_opr_x" };
    const args = ["tasks", "create", "--kind", "k", "--payload", "-"];
    const child = startDrover(args, { env, stdin: '"from here"' });
    await new Promise((resolve) => child.once("exit", resolve));
    expect(server.requests[1]?.body).toMatchObject({ payload: "from here" });
  });

  it.each([
    [["--kind", "k", "--payload", "{"], "--payload is no JSON"],
    [["--kind", "k", "--payload", "@missing.json"], "missing.json, cannot be read (ENOENT)"],
    [["--payload", "1"], "--kind"],
    [["--kind", "k", "--priority", "10"], "from 0 to 9"],
  ])("create refuses %j", async (flags, words) => {
    const server = await fakeServer(() => ({ json: { id } }));
    const ran = await runAgainst(server, ["tasks", "create", ...flags], { cwd: folder });
    expect(ran).toMatchObject({ code: 2, stdout: "" });
    expect(ran.stderr).toContain(words);
    expect(server.requests).toEqual([]);
  });

  it("get shows all of one task, and as JSON what the server sent", async () => {
    const task = {
      id,
      state: "failed",
      retries: 3,
      maxRetries: 3,
      losses: 1,
      payload: { file: "\u001b" },
      error: { message: "disk full" },
      staleResults: [{ agent: "gpu-2", leaseEpoch: "1", kind: "complete", time: "2030-01-31T00:00:00Z" }],
    };
    const server = await fakeServer(() => ({ json: task }));
    const { stdout } = await runAgainst(server, ["tasks", "get", id]);
    expect(stdout).toMatch(/^retries +3 of 3; 1 losses$/m);
    expect(stdout).toMatch(/^payload +\{"file":"\\u001b"\}$/m);
    expect(stdout).toMatch(/^error +disk full$/m);
    expect(stdout).toMatch(/^stale results +complete by gpu-2 under epoch 1 at 2030-01-31 00:00:00Z$/m);
    const json = await runAgainst(server, ["tasks", "get", id, "--json"]);
    expect(json.stdout).toBe(`${JSON.stringify(task)}\n`);
  });

  it("cancel says what the task is now, and gives the reason on", async () => {
    const server = await fakeServer(() => ({ json: { id, state: "cancelled" } }));
    const ran = await runAgainst(server, ["tasks", "cancel", id, "--reason", "wrong file"]);
    expect(ran.stdout).toBe(`${id} is cancelled.\n`);
    expect(server.requests[0]).toMatchObject({ method: "POST", path: `/api/v1/tasks/${id}:cancel` });
    expect(server.requests[0]?.body).toMatchObject({ reason: "wrong file" });
  });

  it("create says when and where a task may run", async () => {
    const server = await fakeServer(() => ({ json: { id, state: "pending" } }));
    const flags =
      "--kind k --not-before 2030-01-31T08:00:00Z --require cuda --require fp16 --require-label zone=a".split(
        " ",
      );
    expect((await runAgainst(server, ["tasks", "create", ...flags])).code).toBe(0);
    expect(server.requests[0]?.body).toMatchObject({
      notBefore: "2030-01-31T08:00:00.000Z",
      requiredCapabilities: ["cuda", "fp16"],
      requiredLabels: { zone: "a" },
    });
  });

  it("create-batch makes as many calls as it needs, and names the line that is none", async () => {
    const server = await fakeServer(() => ({ json: { tasks: [{ id }, { id }] } }));
    const lines = Array.from({ length: 1500 }, (_, n) => JSON.stringify({ kind: "k", payload: n }));
    writeFileSync(join(folder, "tasks.ndjson"), `${lines.join("\n")}\n\n`);
    const ran = await runAgainst(server, ["tasks", "create-batch", "tasks.ndjson"], { cwd: folder });
    expect(ran).toMatchObject({ code: 0, stdout: `${id}\n`.repeat(4) });
    const sizes = server.requests.map(({ body }) => (body as { requests: unknown[] }).requests.length);
    expect(sizes).toEqual([1000, 500]);
    expect(server.requests[0]).toMatchObject({ method: "POST", path: "/api/v1/tasks:batchCreate" });
    writeFileSync(join(folder, "bad.ndjson"), '{"kind":"k"}\n[1]\n');
    const bad = await runAgainst(server, ["tasks", "create-batch", "bad.ndjson"], { cwd: folder });
    expect(bad).toMatchObject({ code: 2, stdout: "" });
    expect(bad.stderr).toContain("Line 2 is no JSON object");
    expect(server.requests).toHaveLength(2);
  });

  it("retry and attempts tell what a task is now and what was tried", async () => {
    const attempt = {
      number: 1,
      leaseEpoch: "1",
      agent: "gpu-1",
      outcome: "lost",
      error: { message: "gone" },
    };
    const server = await fakeServer(({ method }) => ({
      json: method === "POST" ? { id, state: "pending" } : { attempts: [attempt] },
    }));
    const retried = await runAgainst(server, ["tasks", "retry", id, "--reason", "again"]);
    expect(retried.stdout).toBe(`${id} is pending.\n`);
    expect(server.requests[0]).toMatchObject({
      path: `/api/v1/tasks/${id}:retry`,
      body: { reason: "again" },
    });
    const listed = await runAgainst(server, ["tasks", "attempts", id]);
    expect(listed.stdout).toMatch(/^1 +1 +gpu-1 +- +- +lost +gone$/m);
  });

  it("explain prints the sentence and what it comes from", async () => {
    const reasons = [{ message: "It waits." }, { message: "gpu-1 is in error." }];
    const server = await fakeServer(() => ({ json: { summary: "It waits.", reasons } }));
    expect((await runAgainst(server, ["explain", id])).stdout).toBe("It waits.\n- gpu-1 is in error.\n");
    await runAgainst(server, ["explain", "gpu-1", "--json"]);
    expect(server.requests.map(({ path }) => path)).toEqual([
      `/api/v1/tasks/${id}:explain`,
      "/api/v1/agents/gpu-1:explain",
    ]);
  });

  it("ends with the code that belongs to the refusal", async () => {
    const server = await fakeServer(() => refusal(404, "NOT_FOUND", "There is no such task."));
    expect((await runAgainst(server, ["tasks", "get", id])).code).toBe(4);
    expect((await runAgainst(server, ["tasks", "get", "../tokens"])).code).toBe(2);
    expect(server.requests).toHaveLength(1);
  });
});
