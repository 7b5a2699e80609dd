import { create } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { TaskState } from "../../gen/drover/v1/task_pb.js";
import { TaskService } from "../../gen/drover/v1/task_service_pb.js";
import { startControlPlane, type TestControlPlane } from "../helpers/control-plane.ts";
import { waitFor } from "../helpers/wait-for.ts";

let plane: TestControlPlane;
let operator: string;

beforeAll(async () => {
  plane = await startControlPlane({ settings: { DROVER_RETRY_BACKOFF: "1ms" } });
  operator = plane.operatorToken;
});
afterAll(() => plane.stop());

// biome-ignore lint/suspicious/noExplicitAny: answers of any shape, whose fields the tests name
type Answer = any;

async function rest(
  token: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<{ status: number; body: Answer; bytes: number }> {
  const response = await fetch(`${plane.httpUrl}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, body: JSON.parse(text), bytes: Buffer.byteLength(text) };
}

async function enroll(name: string): Promise<string> {
  const { body } = await rest(operator, "POST", "/api/v1/tokens", { role: "enrollment" });
  const enrolled = await rest(body.secret, "POST", "/api/v1/agents:enroll", { name });
  expect(enrolled.status).toBe(200);
  return enrolled.body.secret;
}

const createTask = async (task: unknown) => (await rest(operator, "POST", "/api/v1/tasks", task)).body;
const claim = (token: string, kind: string, max = 1) =>
  rest(token, "POST", "/api/v1/agent/tasks:claim", { kinds: [kind], max });
const claimWaiting = (token: string, kind: string) =>
  rest(token, "POST", "/api/v1/agent/tasks:claim", { kinds: [kind], wait: "20s" });
const grpc = (token: string) =>
  createGrpcTransport({
    baseUrl: plane.httpUrl,
    interceptors: [
      (next) => (request) => {
        request.header.set("authorization", `Bearer ${token}`);
        return next(request);
      },
    ],
  });

describe("a task by REST", () => {
  test("goes from its creation to its result in the shapes that callers rely on", async () => {
    const agent = await enroll("gpu-1");
    const payload = { n: [1, 2.5, null, true], __proto__x: "é" };
    const created = await createTask({
      kind: "hash",
      payload,
      priority: 8,
      maxRetries: 2,
      labels: { team: "a" },
      timeout: "3600s",
    });
    expect(created).toMatchObject({
      kind: "hash",
      state: "pending",
      priority: 8,
      maxRetries: 2,
      timeout: "3600s",
      payload,
    });
    expect(created.id).toMatch(/^task_[0-9a-f-]{36}$/);
    expect(created).not.toHaveProperty("lease");
    const beat = await rest(agent, "POST", "/api/v1/agent/heartbeat", { status: "online" });
    expect(beat.body.hasHighPriorityTasks).toBe(true);
    const claimed = await rest(agent, "POST", "/api/v1/agent/tasks:claim", {
      kinds: ["hash"],
      max: 1,
      wait: "30s",
    });
    expect(claimed.body.tasks).toMatchObject([
      {
        id: created.id,
        payload,
        attempt: 1,
        state: "leased",
        agent: "gpu-1",
        lease: { epoch: "1", remaining: "60s" },
      },
    ]);
    const updated = await rest(agent, "POST", `/api/v1/agent/tasks/${created.id}:update`, {
      leaseEpoch: "1",
      progress: 0.5,
      detail: "half",
    });
    expect(updated.body).toEqual({ lease: { epoch: "1", remaining: "60s" } });
    await rest(agent, "POST", "/api/v1/agent/heartbeat", {
      status: "busy",
      currentTask: { taskId: created.id, leaseEpoch: "1", progress: 0.6 },
    });
    const agents = await rest(operator, "GET", "/api/v1/agents/gpu-1");
    expect(agents.body.currentTask).toEqual({
      taskId: created.id,
      leaseEpoch: "1",
      progress: 0.6,
      detail: "half",
    });
    const reported = await rest(agent, "POST", "/api/v1/agent/errors", {
      severity: "minor",
      message: "warm",
      taskId: created.id,
    });
    expect(reported.body.errorReport.taskId).toBe(created.id);
    const done = await rest(agent, "POST", `/api/v1/agent/tasks/${created.id}:complete`, {
      leaseEpoch: "1",
      result: { digest: "ab" },
    });
    expect(done.body).toMatchObject({
      id: created.id,
      state: "succeeded",
      result: { digest: "ab" },
      progress: 1,
    });
    const shown = await rest(operator, "GET", `/api/v1/tasks/${created.id}`);
    expect(shown.body).toEqual(done.body);
    expect((await rest(operator, "GET", "/api/v1/agents/gpu-1")).body).not.toHaveProperty("currentTask");
  });

  test("keeps null apart from nothing", async () => {
    expect(await createTask({ kind: "null", payload: null })).toHaveProperty("payload", null);
    expect(await createTask({ kind: "null" })).not.toHaveProperty("payload");
  });

  test("is created once for one request_id", async () => {
    const wish = { kind: "once", requestId: "r-1" };
    expect(await createTask(wish)).toEqual(await createTask(wish));
    const { body } = await rest(operator, "GET", "/api/v1/tasks?kind=once");
    expect(body.tasks).toHaveLength(1);
  });

  test("fails with an error that holds no secret", async () => {
    const agent = await enroll("leaky");
    const { id } = await createTask({ kind: "leak", maxRetries: 0 });
    await claim(agent, "leak");
    const failed = await rest(agent, "POST", `/api/v1/agent/tasks/${id}:fail`, {
      leaseEpoch: "1",
      error: { message: "postgres://me:hunter2@db/x refused", context: { apiKey: "k-123", tries: 3 } },
    });
    expect(failed.body).toMatchObject({
      state: "failed",
      error: { context: { apiKey: "[REDACTED]", tries: 3 } },
    });
    expect(JSON.stringify(failed.body)).not.toMatch(/hunter2|k-123/);
    const late = await rest(agent, "POST", `/api/v1/agent/tasks/${id}:complete`, {
      leaseEpoch: "1",
      result: 1,
    });
    expect(late.status).toBe(400);
    expect(late.body.error).toMatchObject({ status: "FAILED_PRECONDITION" });
    expect(JSON.stringify(late.body.error.details)).toContain("LEASE_LOST");
    const { body } = await rest(operator, "GET", `/api/v1/tasks/${id}`);
    expect(body.staleResults).toMatchObject([
      { agent: "leaky", leaseEpoch: "1", kind: "complete", result: 1 },
    ]);
  });

  test("is cancelled, and its agent is told by its heartbeats", async () => {
    const agent = await enroll("told");
    const { id } = await createTask({ kind: "cancel" });
    await claim(agent, "cancel");
    const cancelled = await rest(operator, "POST", `/api/v1/tasks/${id}:cancel`, { reason: "too late" });
    expect(cancelled.body).toMatchObject({ state: "cancelled", error: { message: "too late" } });
    const beat = await rest(agent, "POST", "/api/v1/agent/heartbeat", {
      status: "busy",
      currentTask: { taskId: id, leaseEpoch: "1" },
    });
    expect(beat.body.commands).toEqual([
      { sequence: "1", kind: "cancelTask", taskId: id, reason: "too late" },
    ]);
    expect(beat.body.leases).toEqual([{ taskId: id, leaseEpoch: "1", renewed: false }]);
    const taken = await rest(agent, "POST", "/api/v1/agent/heartbeat", {
      status: "online",
      acknowledgedCommands: ["1"],
    });
    expect(taken.body.commands).toEqual([]);
  });

  test("comes back when its agent is removed", async () => {
    const agent = await enroll("removed");
    const { id } = await createTask({ kind: "orphan" });
    await claim(agent, "orphan");
    expect((await rest(operator, "DELETE", "/api/v1/agents/removed")).status).toBe(200);
    expect((await rest(operator, "GET", `/api/v1/tasks/${id}`)).body).toMatchObject({
      state: "pending",
      retries: 0,
      losses: 0,
      agent: "removed",
    });
  });
});

describe("lists", () => {
  test("filter by state, kind, agent and label, and page in both orders", async () => {
    const agent = await enroll("lister");
    const ids: string[] = [];
    for (let n = 0; n < 5; n++)
      ids.push((await createTask({ kind: "listed", labels: { n: String(n % 2) } })).id);
    await claim(agent, "listed", 2);
    const list = async (query: string) => {
      const { body } = await rest(operator, "GET", `/api/v1/tasks?kind=listed&${query}`);
      return body.tasks.map((task: { id: string }) => task.id);
    };
    expect(await list("")).toEqual(ids.toReversed());
    expect(await list("orderBy=created_at&state=leased&state=running")).toEqual(ids.slice(0, 2));
    expect(await list("orderBy=created_at&agent=lister")).toEqual(ids.slice(0, 2));
    expect(await list("agent=nobody")).toEqual([]);
    expect(await list("orderBy=created_at&labels=n%3D1")).toEqual([ids[1], ids[3]]);
    expect(await list("orderBy=created_at&labels=n%3D1&labels=n%3D1")).toEqual([ids[1], ids[3]]);
    const both = await rest(operator, "GET", "/api/v1/tasks?labels=n%3D0&labels=n%3D1");
    expect(both).toMatchObject({
      status: 400,
      body: { error: { message: expect.stringMatching(/^labels: /) } },
    });
    expect(await list("state=failed")).toEqual([]);
    const seen: string[] = [];
    for (let token = ""; ; ) {
      const { body } = await rest(operator, "GET", `/api/v1/tasks?kind=listed&pageSize=2&pageToken=${token}`);
      seen.push(...body.tasks.map((task: { id: string }) => task.id));
      token = body.nextPageToken;
      if (token === "") break;
    }
    expect(seen).toEqual(ids.toReversed());
  });

  test("end before 3 MiB, by the larger of JSON and protobuf, and lose nothing", async () => {
    // As protobuf a list of small numbers is five times its JSON.
    const payload = Array.from({ length: 100_000 }, (_, n) => n % 10);
    for (let n = 0; n < 6; n++) await createTask({ kind: "wide", payload });
    const client = createClient(TaskService, grpc(operator));
    let found = 0;
    let pages = 0;
    for (let pageToken = ""; ; ) {
      const page = await client.listTasks({ kind: ["wide"], pageToken });
      found += page.tasks.length;
      pages += 1;
      expect(page.tasks.length).toBeLessThanOrEqual(2);
      pageToken = page.nextPageToken;
      if (pageToken === "") break;
    }
    expect([found, pages]).toEqual([6, 3]);
  });
});

describe("limits", () => {
  const json = (bytes: number) => "x".repeat(bytes - 2);

  test("payload and result take 256 KiB as compact JSON and no byte more", async () => {
    const cap = 256 * 1024;
    const agent = await enroll("wide");
    const { id } = await createTask({ kind: "cap", payload: json(cap) });
    const over = await rest(operator, "POST", "/api/v1/tasks", { kind: "cap", payload: json(cap + 1) });
    expect(over.status).toBe(400);
    expect(over.body.error.message).toMatch(/payload/);
    await claim(agent, "cap");
    const path = `/api/v1/agent/tasks/${id}:complete`;
    const refused = await rest(agent, "POST", path, { leaseEpoch: "1", result: json(cap + 1) });
    expect([refused.status, refused.body.error.message]).toEqual([400, expect.stringMatching(/result/)]);
    expect((await rest(agent, "POST", path, { leaseEpoch: "1", result: json(cap) })).status).toBe(200);
  });

  test("detail takes 1,024 characters, an error's context 16 KiB", async () => {
    const agent = await enroll("talker");
    const { id } = await createTask({ kind: "talk" });
    await claim(agent, "talk");
    const path = `/api/v1/agent/tasks/${id}`;
    expect(
      (await rest(agent, "POST", `${path}:update`, { leaseEpoch: "1", detail: "é".repeat(1024) })).status,
    ).toBe(200);
    expect(
      (await rest(agent, "POST", `${path}:update`, { leaseEpoch: "1", detail: "é".repeat(1025) })).status,
    ).toBe(400);
    const context = (bytes: number) => ({ a: "x".repeat(bytes - '{"a":""}'.length) });
    const fail = (bytes: number) =>
      rest(agent, "POST", `${path}:fail`, {
        leaseEpoch: "1",
        error: { message: "m", context: context(bytes) },
      });
    expect((await fail(16 * 1024 + 1)).body.error.message).toMatch(/error\.context/);
    expect((await fail(16 * 1024)).body.state).toBe("pending");
  });

  test.each([
    [{ kind: "" }, /kind/],
    [{ kind: "a", priority: 10 }, /priority/],
    [{ kind: "a", timeout: "0.5s" }, /timeout/],
    [{ kind: "a", payload: { "\u0000": 1 } }, /payload.*U\+0000/],
    [{ kind: "a", color: "red" }, /color/],
  ])("%j is refused by the name of its field", async (wish, words) => {
    const { status, body } = await rest(operator, "POST", "/api/v1/tasks", wish);
    expect([status, body.error.message]).toEqual([400, expect.stringMatching(words)]);
  });

  test("a value without a kind, which only protobuf can send, is null", async () => {
    const client = createClient(TaskService, grpc(operator));
    const { task } = await client.createTask({ kind: "bare", payload: create(ValueSchema) });
    expect(task?.payload?.kind).toEqual({ case: "nullValue", value: 0 });
    expect(task?.state).toBe(TaskState.PENDING);
  });
});

describe("callers", () => {
  test("have their roles, and see no task of another project", async () => {
    const agent = await enroll("nosy");
    const { id } = await createTask({ kind: "mine" });
    expect((await rest(agent, "GET", `/api/v1/tasks/${id}`)).status).toBe(403);
    expect((await claim(operator, "mine")).status).toBe(403);
    await rest(operator, "POST", "/api/v1/projects", { name: "other" });
    const elsewhere = await fetch(`${plane.httpUrl}/api/v1/tasks/${id}`, {
      headers: { authorization: `Bearer ${operator}`, "x-drover-project": "other" },
    });
    expect(elsewhere.status).toBe(404);
  });

  test("that stop waiting for a task are let go", async () => {
    const client = createClient(AgentService, grpc(await enroll("patient")));
    const failure: unknown = await client
      .claimTasks({ kinds: ["never"], wait: { seconds: 60n } }, { timeoutMs: 100 })
      .catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ConnectError);
    expect(ConnectError.from(failure).code).toBe(Code.DeadlineExceeded);
  });

  test("whose token is revoked while they wait are lent nothing", async () => {
    const agent = await enroll("dismissed");
    const waiting = claimWaiting(agent, "late");
    const { body } = await rest(operator, "GET", "/api/v1/tokens?agent=dismissed");
    await rest(operator, "DELETE", `/api/v1/tokens/${body.tokens[0].id}`);
    // The server asks after a token again once its word is half a second old.
    const since = performance.now();
    await waitFor(() => performance.now() - since > 600);
    const { id } = await createTask({ kind: "late" });
    expect((await waiting).status).toBe(401);
    expect((await rest(operator, "GET", `/api/v1/tasks/${id}`)).body).toMatchObject({
      state: "pending",
      attempt: 0,
    });
  });
});
