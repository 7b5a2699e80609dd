import { PassThrough } from "node:stream";
import { afterEach, describe, expect, it, vi } from "vitest";
import { type FakeAnswer, refusal, type SeenRequest } from "./fake-rest-server.ts";
import { fakeServer, runAgainst } from "./with-fake-server.ts";

afterEach(() => vi.restoreAllMocks());

/** Answers as a server whose filter finds so many tasks, which are cancelled or tried anew by a call. */
function holding(found: number, state: string): (request: SeenRequest) => FakeAnswer {
  let left = found;
  return ({ method, query, body }) => {
    if (method === "GET") {
      const from = Number(query.get("pageToken") ?? 0);
      const to = Math.min(from + Number(query.get("pageSize")), left);
      const tasks = Array.from({ length: to - from }, () => ({ state: "pending" }));
      return { json: { tasks, nextPageToken: to < left ? String(to) : "" } };
    }
    expect(body).toMatchObject({ requestId: expect.any(String) });
    const size = Math.min(left, 1000);
    left -= size;
    return { json: { tasks: Array(size).fill({ state }), more: left > 0 } };
  };
}

/** A terminal at which somebody types an answer to whatever is asked. */
function terminalSaying(answer: string): void {
  const input = Object.assign(new PassThrough(), { isTTY: true });
  input.write(`${answer}\n`);
  vi.spyOn(process, "stdin", "get").mockReturnValue(input as unknown as typeof process.stdin);
  vi.spyOn(process, "stderr", "get").mockReturnValue(
    Object.assign(Object.create(process.stderr), { isTTY: true }),
  );
}

const idsOf = (requests: readonly SeenRequest[]) =>
  requests.flatMap(({ body }) => (body === undefined ? [] : [(body as { requestId: string }).requestId]));

describe("tasks cancel and retry by filter", () => {
  it("go on call by call until nothing more is found, each with an id of its own", async () => {
    const server = await fakeServer(holding(2300, "cancelled"));
    const flags =
      "--kind hash --kind scan --state pending --agent gpu-1 --label batch=7 --reason wrong --yes";
    const ran = await runAgainst(server, ["tasks", "cancel", ...flags.split(" ")]);
    expect(ran).toEqual({ code: 0, stdout: "2300 tasks are cancelled.\n", stderr: "" });
    expect(server.requests).toHaveLength(3);
    expect(server.requests[2]).toMatchObject({
      path: "/api/v1/tasks:batchCancel",
      body: {
        kind: ["hash", "scan"],
        state: ["pending"],
        agent: "gpu-1",
        labels: ["batch=7"],
        reason: "wrong",
      },
    });
    expect(new Set(idsOf(server.requests)).size).toBe(3);
  });

  it("print each answer as it came with --json", async () => {
    const server = await fakeServer(holding(1001, "pending"));
    const ran = await runAgainst(server, ["tasks", "retry", "--all", "--yes", "--json"]);
    const answers = ran.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(answers.map(({ tasks, more }) => [tasks.length, more])).toEqual([
      [1000, true],
      [1, false],
    ]);
    expect(server.requests[0]?.body).toMatchObject({ all: true });
  });

  it("ask first how many are meant, and change nothing where the answer is no", async () => {
    terminalSaying("no");
    const server = await fakeServer(holding(1204, "pending"));
    const ran = await runAgainst(server, ["tasks", "retry", "--kind", "hash"]);
    expect(ran.stderr).toContain(`Retry 1204 tasks at ${server.url}? [y/N]`);
    expect(ran.stderr).toContain("Nothing was changed.");
    expect(ran).toMatchObject({ code: 1, stdout: "" });
    expect(server.requests.every(({ method }) => method === "GET")).toBe(true);
    expect(server.requests[0]?.query.getAll("state")).toEqual(["failed", "quarantined"]);
  });

  it("say how far they are where somebody looks", async () => {
    terminalSaying("y");
    const server = await fakeServer(holding(1500, "pending"));
    const ran = await runAgainst(server, ["tasks", "retry", "--kind", "hash"]);
    expect(ran.stderr).toContain("1000 of 1500 tasks");
    expect(ran).toMatchObject({ code: 0, stdout: "1500 tasks are pending.\n" });
  });

  it("count no further than a person wants to know, and ask nothing where nothing is found", async () => {
    terminalSaying("n");
    const many = await fakeServer(holding(12_000, "pending"));
    const ran = await runAgainst(many, ["tasks", "cancel", "--all"]);
    expect(ran.stderr).toContain("Cancel more than 10000 tasks");
    const none = await fakeServer(holding(0, "pending"));
    const quiet = await runAgainst(none, ["tasks", "cancel", "--all"]);
    expect(quiet).toMatchObject({ code: 0, stdout: "No tasks are found.\n" });
  });

  it("tell what was done before a call failed", async () => {
    const answer = holding(1500, "cancelled");
    const server = await fakeServer((request, count) =>
      count === 1 ? answer(request) : refusal(403, "PERMISSION_DENIED", "no more"),
    );
    const ran = await runAgainst(server, ["tasks", "cancel", "--all", "--yes"]);
    expect(ran).toMatchObject({ code: 3, stdout: "" });
    expect(ran.stderr).toMatch(/^1000 tasks are cancelled\.\nerror: no more/);
  });

  it("do not go on for ever where calls change nothing", async () => {
    const server = await fakeServer(() => ({ json: { tasks: [], more: true } }));
    const ran = await runAgainst(server, ["tasks", "cancel", "--all", "--yes"]);
    expect(server.requests).toHaveLength(3);
    expect(ran.stderr).toBe("Some tasks were left as they are: they changed just now. Try again.\n");
  });

  it.each([
    [["tasks", "cancel"], "Give a task's id, or a filter"],
    [["tasks", "cancel", "task_1", "--kind", "k"], "not both"],
    [["tasks", "cancel", "--all", "--kind", "k"], "'--all' cannot be used with option '--kind"],
    [["tasks", "cancel", "--state", "succeeded", "--yes"], "pending, leased, running, quarantined"],
    [["tasks", "retry", "--all"], "no terminal to ask at: say --yes"],
    [["agents", "drain"], "Give an agent's name, or a filter"],
  ])("%j is refused before a call", async (args, words) => {
    const server = await fakeServer(() => ({ json: {} }));
    const ran = await runAgainst(server, args);
    expect(ran).toMatchObject({ code: 2, stdout: "" });
    expect(ran.stderr).toContain(words);
    expect(server.requests).toEqual([]);
  });
});

describe("agents cordon, uncordon and drain by filter", () => {
  it.each([
    ["cordon", "batchCordon", ["none", "draining"]],
    ["uncordon", "batchUncordon", ["draining", "cordoned"]],
    ["drain", "batchDrain", ["none"]],
  ])("%s asks about those that it changes", async (verb, call, cordons) => {
    terminalSaying("yes");
    const after = [
      { cordon: "draining" },
      { cordon: "cordoned" },
      { cordon: "cordoned" },
      { cordon: "none" },
    ];
    const server = await fakeServer(({ method }) => ({
      json: method === "GET" ? { agents: [{}] } : { agents: after, more: false },
    }));
    const flags = "--status online --liveness live --label zone=a --name-prefix gpu- --reason hot".split(" ");
    const deadline = verb === "drain" ? ["--deadline", "10m"] : [];
    const ran = await runAgainst(server, ["agents", verb, ...flags, ...deadline]);
    expect(ran.stderr).toMatch(/\w+ 1 agent at http/);
    expect(ran.stdout).toBe("1 agent is draining. 2 agents are cordoned. 1 agent is uncordoned.\n");
    const [asked, changed] = server.requests;
    expect(asked?.query.getAll("cordon")).toEqual(cordons);
    expect(changed).toMatchObject({
      path: `/api/v1/agents:${call}`,
      body: {
        status: ["online"],
        liveness: ["live"],
        labels: ["zone=a"],
        namePrefix: "gpu-",
        reason: "hot",
        ...(verb === "drain" && { deadline: "600s" }),
      },
    });
  });
});
