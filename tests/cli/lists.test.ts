import { once } from "node:events";
import { text } from "node:stream/consumers";
import { describe, expect, it } from "vitest";
import { openApi } from "../../src/cli/api.ts";
import { listPages } from "../../src/cli/list-pages.ts";
import { startDrover } from "../helpers/run-drover.ts";
import type { FakeAnswer, SeenRequest } from "./fake-rest-server.ts";
import { fakeServer, runAgainst } from "./with-fake-server.ts";

/** Pages of agents `agent-0` … `agent-(total-1)`, each page at most `largest` long. */
function agentPages(total: number, largest: number): (request: SeenRequest) => FakeAnswer {
  return ({ query }) => {
    const from = Number(query.get("pageToken") ?? 0);
    const size = Math.min(Number(query.get("pageSize") || 100), largest);
    const to = Math.min(from + size, total);
    const agents = Array.from({ length: to - from }, (_, index) => ({ name: `agent-${from + index}` }));
    return { json: { agents, nextPageToken: to < total ? String(to) : "" } };
  };
}

describe("--json", () => {
  it("prints one page byte for byte", async () => {
    const body = '{ "agents":[{"name":"a","gauges":{"__proto__":1e3}}],  "nextPageToken":"" }';
    const server = await fakeServer(() => ({ text: body }));
    const ran = await runAgainst(server, ["agents", "--json"]);
    expect(ran).toEqual({ code: 0, stdout: `${body}\n`, stderr: "" });
  });

  it("joins several pages into one of the same shape, with the token of what follows", async () => {
    const server = await fakeServer(agentPages(25, 10));
    const ran = await runAgainst(server, ["agents", "--json", "--limit", "22"]);
    const { agents, nextPageToken } = JSON.parse(ran.stdout);
    expect(agents).toHaveLength(22);
    expect(nextPageToken).toBe("22");
    expect(server.requests.map(({ query }) => [query.get("pageSize"), query.get("pageToken")])).toEqual([
      ["22", null],
      ["12", "10"],
      ["2", "20"],
    ]);
  });
});

describe("--limit and --all", () => {
  it("stop after 100 when neither is given, and say that there is more", async () => {
    const server = await fakeServer(agentPages(2500, 1000));
    const ran = await runAgainst(server, ["agents"]);
    expect(ran.stdout.trimEnd().split("\n")).toHaveLength(101);
    expect(ran.stderr).toBe("There are more agents: ask for them with --limit or --all.\n");
    expect(server.requests).toHaveLength(1);
  });

  it("fetch all by pages of a thousand", async () => {
    const server = await fakeServer(agentPages(2500, 1000));
    const ran = await runAgainst(server, ["agents", "--all"]);
    const lines = ran.stdout.trimEnd().split("\n");
    expect(lines).toHaveLength(2501);
    expect(lines.at(-1)).toMatch(/^agent-2499 /);
    expect(ran.stderr).toBe("");
    expect(server.requests.map(({ query }) => query.get("pageSize"))).toEqual(["1000", "1000", "1000"]);
  });

  it("end when pages lead in a circle", async () => {
    const server = await fakeServer(() => ({ json: { agents: [{}], nextPageToken: "again" } }));
    const ran = await runAgainst(server, ["agents", "--all"]);
    expect(ran.code).toBe(1);
    expect(server.requests).toHaveLength(2);
  });

  it("pass over empty pages that have a next one", async () => {
    const server = await fakeServer(({ query }) =>
      query.get("pageToken") === null
        ? { json: { agents: [], nextPageToken: "n" } }
        : { json: { agents: [{ name: "late" }] } },
    );
    const connection = { url: server.url, token: undefined, project: undefined, tls: undefined, looked: [] };
    const listing = await listPages(openApi(connection, 5_000), "/api/v1/agents", "agents", {}, 10);
    expect(listing).toMatchObject({ items: [{ name: "late" }], more: false });
  });
});

describe("filters", () => {
  it("of agents reach the server by the contract's names", async () => {
    const server = await fakeServer(() => ({ json: { agents: [] } }));
    const args =
      "agents list --status error --status busy --liveness stale --label a=b=c --label zone=x".split(" ");
    const ran = await runAgainst(server, [
      ...args,
      "--name-prefix",
      "gpu &",
      "--order-by",
      "created_at desc",
    ]);
    expect(ran).toEqual({ code: 0, stdout: "", stderr: "No agents.\n" });
    expect([...(server.requests[0]?.query ?? [])]).toEqual([
      ["status", "error"],
      ["status", "busy"],
      ["liveness", "stale"],
      ["labels", "a=b=c"],
      ["labels", "zone=x"],
      ["namePrefix", "gpu &"],
      ["orderBy", "created_at desc"],
      ["pageSize", "100"],
    ]);
  });

  it("of errors, groups, audit and tokens do too", async () => {
    const server = await fakeServer(() => ({ json: {} }));
    const since = ["--since", "2030-01-31"];
    const errors = [...since, "--agent", "a", "--severity", "fatal"];
    const all = [
      ["errors", ...errors, "--fingerprint", "f"],
      ["errors", "groups", ...errors],
      [
        "audit",
        ...since,
        "--until",
        "2030-02-01T00:00:00+01:00",
        "--subject",
        "s",
        "--actor",
        "x",
        "--action",
        "y",
      ],
      ["tokens", "--role", "viewer", "--agent", "a"],
      ["projects"],
    ];
    for (const args of all) expect(await runAgainst(server, args), args.join(" ")).toMatchObject({ code: 0 });
    const instant = "2030-01-31T00:00:00.000Z";
    const [list, groups, audit, tokens] = server.requests.map(({ query }) => Object.fromEntries(query));
    expect(list).toMatchObject({ agent: "a", severity: "fatal", since: instant, fingerprint: "f" });
    expect(groups).toMatchObject({ agent: "a", severity: "fatal", since: instant });
    expect(audit).toMatchObject({
      since: instant,
      until: "2030-01-31T23:00:00.000Z",
      subject: "s",
      actor: "x",
    });
    expect(audit).toMatchObject({ action: "y" });
    expect(tokens).toMatchObject({ role: "viewer", agent: "a" });
  });

  it("count --since back from now", async () => {
    const server = await fakeServer(() => ({ json: { errors: [] } }));
    const before = Date.now();
    await runAgainst(server, ["errors", "--since", "1h30m"]);
    const since = Date.parse(server.requests[0]?.query.get("since") ?? "");
    expect(since).toBeGreaterThanOrEqual(before - 5_400_000);
    expect(since).toBeLessThanOrEqual(Date.now() - 5_400_000);
  });
});

describe("tables", () => {
  it("show agents in aligned columns", async () => {
    const agents = [
      {
        name: "gpu-1",
        status: "busy",
        liveness: "live",
        lastHeartbeatAt: "2030-01-31T08:09:10.123456Z",
        recentErrors: { count: 3, worstSeverity: "fatal" },
        currentTask: { taskId: "task_1", leaseEpoch: "1", progress: 0.4, detail: "cracking" },
        labels: { zone: "a", rack: "7" },
      },
      { name: "日本", status: "pending", liveness: "never", recentErrors: { count: 0 }, currentTask: null },
    ];
    const server = await fakeServer(() => ({ json: { agents } }));
    const ran = await runAgainst(server, ["agents"]);
    expect(ran.stdout).toBe(
      [
        "NAME   STATUS   LIVENESS  CORDON  LAST HEARTBEAT        ERRORS 24H  TASK                  LABELS",
        "gpu-1  busy     live      -       2030-01-31 08:09:10Z  3 (fatal)   task_1 40 % cracking  rack=7,zone=a",
        "日本   pending  never     -       -                     0           -                     -",
        "",
      ].join("\n"),
    );
  });

  it("escape what a terminal could take for a command, and keep one row a line", async () => {
    const errors = [{ agent: "a", severity: "major", message: "one\ntwo \u001b[31mred \u009b1m \u202e end" }];
    const server = await fakeServer(() => ({ json: { errors } }));
    const ran = await runAgainst(server, ["errors"]);
    expect(ran.stdout.split("\n")).toHaveLength(3);
    expect(ran.stdout).toContain("one\\ntwo \\u001b[31mred \\u009b1m \\u202e end");
  });

  it("show what changed in the audit", async () => {
    const entries = [
      { time: "2030-01-31T08:09:10Z", actor: "agent:a", field: "status", from: "online", to: "error" },
    ];
    const server = await fakeServer(() => ({ json: { entries } }));
    expect((await runAgainst(server, ["audit"])).stdout).toContain("status: online → error");
  });

  it("never hold colours where the output is no terminal", async () => {
    const server = await fakeServer(() => ({ json: { agents: [{ name: "a", status: "error" }] } }));
    const ran = await runAgainst(server, ["agents"], { env: { FORCE_COLOR: "1" } });
    expect(ran.stdout).not.toContain("\u001b");
  });
});

it("a reader that goes away ends the command without a word", async () => {
  let asked = (): void => undefined;
  const request = new Promise<void>((resolve) => {
    asked = resolve;
  });
  let release = (): void => undefined;
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const server = await fakeServer(async () => {
    asked();
    await released;
    return { json: { agents: Array.from({ length: 1000 }, () => ({ name: "a".repeat(100) })) } };
  });
  const child = startDrover(["agents"], { env: { DROVER_URL: server.url, DROVER_TOKEN: "t" } });
  if (child.stdout === null || child.stderr === null) throw new Error("the child has no pipes");
  const stderr = text(child.stderr);
  await request;
  child.stdout.destroy();
  release();
  const [code] = await once(child, "exit");
  expect({ code, stderr: await stderr }).toEqual({ code: 0, stderr: "" });
});

describe("drover audit --export", () => {
  const entries = Array.from({ length: 2_100 }, (_, n) => ({
    id: `audit_${n}`,
    action: "agent.enrolled",
    to: "ü\n",
  }));

  it("prints every entry as a line of JSON, the oldest first, page by page", async () => {
    const server = await fakeServer(({ query }) => {
      const from = Number(query.get("pageToken") ?? 0);
      const to = from + Number(query.get("pageSize"));
      return {
        json: { entries: entries.slice(from, to), nextPageToken: to < entries.length ? String(to) : "" },
      };
    });
    const filters = ["--subject", "gpu-1", "--action", "agent.enrolled", "--action", "agent.removed"];
    const ran = await runAgainst(server, ["audit", "--export", ...filters]);
    expect(ran).toMatchObject({ code: 0, stderr: "" });
    const lines = ran.stdout.split("\n");
    expect(lines.pop()).toBe("");
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual(entries);
    expect(server.requests.map(({ path, query }) => [path, query.get("pageToken")])).toEqual([
      ["/api/v1/audit", null],
      ["/api/v1/audit", "1000"],
      ["/api/v1/audit", "2000"],
    ]);
    for (const { query } of server.requests) {
      expect(query.get("orderBy")).toBe("time");
      expect(query.get("subject")).toBe("gpu-1");
      expect(query.getAll("action")).toEqual(["agent.enrolled", "agent.removed"]);
    }
  });

  it("prints nothing where there is nothing, and takes neither a limit nor an order", async () => {
    const server = await fakeServer(() => ({ json: { entries: [], nextPageToken: "" } }));
    expect(await runAgainst(server, ["audit", "--export"])).toEqual({ code: 0, stdout: "", stderr: "" });
    for (const more of [
      ["--limit", "5"],
      ["--order-by", "time desc"],
    ]) {
      const ran = await runAgainst(server, ["audit", "--export", ...more]);
      expect(ran.code).toBe(2);
      expect(ran.stderr).toContain("--export");
    }
    expect(server.requests).toHaveLength(1);
  });

  it("ends with an error where a later page cannot be had", async () => {
    const server = await fakeServer(({ query }) =>
      query.has("pageToken")
        ? { status: 403, json: { error: { code: 403, status: "PERMISSION_DENIED", message: "not you" } } }
        : { json: { entries: entries.slice(0, 1), nextPageToken: "1" } },
    );
    const ran = await runAgainst(server, ["audit", "--export"]);
    expect(ran.code).not.toBe(0);
    expect(ran.stdout.trim().split("\n")).toHaveLength(1);
    expect(ran.stderr).toContain("not you");
  });
});

describe("agents sessions", () => {
  it("shows the runs of an agent's process, each on a line", async () => {
    const sessions = [
      { bootId: "b-2", epoch: "2", startedAt: "2026-01-02T03:04:05Z", current: true },
      { bootId: "b-1", epoch: "1", startedAt: "2026-01-01T00:00:00Z", supersededAt: "2026-01-02T03:04:05Z" },
    ];
    const server = await fakeServer(() => ({ json: { sessions } }));
    const ran = await runAgainst(server, ["agents", "sessions", "gpu-1"]);
    expect(ran.stdout.split("\n").map((line) => line.trimEnd().split(/ {2,}/))).toEqual([
      ["EPOCH", "BEGAN", "LAST HEARTBEAT", "TAKEN OVER", "BOOT ID"],
      ["2", expect.stringMatching(/^2026-01-0/), "-", "-", "b-2"],
      ["1", expect.stringMatching(/^202/), "-", expect.stringMatching(/^2026-01-0/), "b-1"],
      [""],
    ]);
    expect(server.requests[0]).toMatchObject({ method: "GET", path: "/api/v1/agents/gpu-1/sessions" });
  });
});
