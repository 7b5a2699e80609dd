import { once } from "node:events";
import { createServer } from "node:net";
import { describe, expect, it } from "vitest";
import { runInProcess } from "../helpers/run-in-process.ts";
import { type FakeAnswer, refusal } from "./fake-rest-server.ts";
import { fakeServer, runAgainst } from "./with-fake-server.ts";

const badRequest = {
  "@type": "type.googleapis.com/google.rpc.BadRequest",
  fieldViolations: [
    { field: "page_size", description: "must be at most 1000" },
    { field: "order_by", description: "must be one of name" },
  ],
};

describe("exit codes", () => {
  it.each<[string, number, number]>([
    ["INVALID_ARGUMENT", 400, 2],
    ["OUT_OF_RANGE", 400, 2],
    ["UNAUTHENTICATED", 401, 3],
    ["PERMISSION_DENIED", 403, 3],
    ["NOT_FOUND", 404, 4],
    ["ALREADY_EXISTS", 409, 5],
    ["FAILED_PRECONDITION", 400, 5],
    ["ABORTED", 409, 5],
    ["DEADLINE_EXCEEDED", 504, 6],
    ["RESOURCE_EXHAUSTED", 429, 7],
    ["INTERNAL", 500, 1],
    ["UNIMPLEMENTED", 501, 1],
  ])("%s (HTTP %i) ends with %i, in words and as the server's own JSON", async (status, http, code) => {
    const server = await fakeServer(() => refusal(http, status, "The server says so."));
    const [words, json] = await Promise.all([
      runAgainst(server, ["agents", "get", "gpu-1"]),
      runAgainst(server, ["agents", "get", "gpu-1", "--json"]),
    ]);
    expect(words).toMatchObject({ code, stdout: "" });
    expect(words.stderr).toMatch(/^error: The server says so\./);
    expect(json).toMatchObject({ code, stdout: "" });
    expect(JSON.parse(json.stderr)).toEqual({
      error: { code: http, status, message: "The server says so.", details: [] },
    });
  });

  it.each<[string, FakeAnswer, number]>([
    ["a proxy's 502", { status: 502, text: "<html>bad gateway</html>" }, 6],
    ["a login page's 403", { status: 403, text: "<html>" }, 3],
    ["a redirect", { status: 302, headers: { location: "/login" }, text: "" }, 1],
    ["a page instead of JSON", { text: "<html>hello</html>" }, 1],
  ])("%s has one too", async (_name, answer, code) => {
    const server = await fakeServer(() => answer);
    const ran = await runAgainst(server, ["agents"]);
    expect(ran.code).toBe(code);
    expect(ran.stderr).toContain(server.url);
    expect(ran.stderr).not.toContain("html");
  });
});

describe("refusals in words", () => {
  it("put each violation on a line of its own, with its field", async () => {
    const server = await fakeServer(() =>
      refusal(400, "INVALID_ARGUMENT", "page_size: must be at most 1000", [badRequest]),
    );
    const ran = await runAgainst(server, ["agents"]);
    expect(ran.stderr.split("\n")).toEqual([
      "error: The server refuses the request:",
      "  page_size: must be at most 1000",
      "  order_by: must be one of name",
      "",
    ]);
  });

  it("tell how the server's log names the call where it tells no more itself", async () => {
    const headers = { "x-request-id": "call-7" };
    const json = {
      error: { code: 500, status: "INTERNAL", message: "the server failed; its log says why", details: [] },
    };
    const server = await fakeServer(() => ({ status: 500, headers, json }));
    expect((await runAgainst(server, ["agents"])).stderr).toBe(
      "error: the server failed; its log says why (requestId call-7)\n",
    );
  });

  it("name the reason that programs compare", async () => {
    const info = { "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason: "AGENT_IN_ERROR" };
    const server = await fakeServer(() => refusal(400, "FAILED_PRECONDITION", "It is in error.", [info]));
    expect((await runAgainst(server, ["agents", "reset", "a"])).stderr).toBe(
      "error: It is in error. (AGENT_IN_ERROR)\n",
    );
  });

  it("tell which token was not accepted by its source, never by its secret", async () => {
    const server = await fakeServer(() => refusal(401, "UNAUTHENTICATED", "No valid token."));
    const ran = await runInProcess(["agents", "--url", server.url, "--token", "drv_opr_id_hunter2_check"]);
    expect(ran.stderr).toContain("The token from --token was not accepted.");
    expect(ran.stderr).toContain("drover tokens create");
    expect(ran.stderr).not.toContain("hunter2");
  });

  it("tell the role of a token that may not do this", async () => {
    const server = await fakeServer(() => refusal(403, "PERMISSION_DENIED", "Not for this role."));
    const env = { DROVER_TOKEN: "drv_vwr_id_hunter2_check" };
    const ran = await runAgainst(server, ["tokens", "create", "--role", "viewer", "--project", "blue"], {
      env,
    });
    expect(ran.stderr).toContain("The one used is a viewer's token, from DROVER_TOKEN.");
    expect(ran.stderr).toContain("Only the server's own operator token may name another project.");
    expect(ran.stderr).not.toContain("hunter2");
  });

  it("tell when to try again", async () => {
    const answer: FakeAnswer = {
      status: 429,
      headers: { "retry-after": "7" },
      json: { error: { code: 429, status: "RESOURCE_EXHAUSTED", message: "Too many.", details: [] } },
    };
    const server = await fakeServer(() => answer);
    const ran = await runAgainst(server, ["agents"]);
    expect(ran).toMatchObject({ code: 7, stderr: "error: Too many. Try again in 7 s.\n" });
    expect(server.requests).toHaveLength(1);
  });

  it("escape what a terminal could take for a command", async () => {
    const server = await fakeServer(() => refusal(404, "NOT_FOUND", "no \u001b]0;owned\u0007 agent"));
    const ran = await runAgainst(server, ["agents", "get", "x"]);
    expect(ran.stderr).toBe("error: no \\u001b]0;owned\\u0007 agent\n");
  });
});

describe("a server that does not answer", () => {
  it("is told in a sentence that says what to do", async () => {
    const url = await closedAddress();
    const ran = await runInProcess(["agents", "--url", url]);
    expect(ran).toEqual({
      code: 6,
      stdout: "",
      stderr: `error: No Drover server answers at ${url}. Start one with \`drover serve\`, or name another with --url or DROVER_URL.\n`,
    });
  });

  it("is told as Status JSON where JSON was asked for", async () => {
    const ran = await runInProcess(["agents", "--json", "--url", await closedAddress()]);
    expect(ran.code).toBe(6);
    expect(JSON.parse(ran.stderr)).toMatchObject({
      error: { code: 503, status: "UNAVAILABLE", details: [] },
    });
  });

  it("is waited for no longer than --timeout, and what it said last is told", async () => {
    const answer: FakeAnswer = { status: 503, headers: { "retry-after": "60" }, text: "" };
    const server = await fakeServer(() => answer);
    const ran = await runAgainst(server, ["agents", "--timeout", "300ms"]);
    expect(ran).toMatchObject({
      code: 6,
      stderr: `error: ${server.url} answered HTTP 503. Try again in 60 s.\n`,
    });
    expect(server.requests).toHaveLength(1);
  });

  it("is given up after --timeout", async () => {
    const server = await fakeServer(() => new Promise(() => undefined));
    const ran = await runAgainst(server, ["agents", "remove", "a", "--yes", "--timeout", "300ms"]);
    expect(ran).toMatchObject({
      code: 6,
      stderr: `error: ${server.url} gave no answer within 0.3 s. The call may have taken effect. Give it longer with --timeout.\n`,
    });
  });
});

describe("wrong usage", () => {
  it.each<[string[], string]>([
    [["agnts"], "Did you mean agents?"],
    [["agents", "remov", "x"], "Did you mean remove?"],
    [["tokens", "frobnicate"], "unknown command 'frobnicate'"],
    [["agents", "--stat", "busy"], "unknown option '--stat'"],
    [["agents", "list", "surplus"], "too many arguments"],
    [["doctor", "surplus"], "too many arguments"],
    [["agents", "get"], "missing required argument 'name'"],
    [["agents", "--status", "bored"], "Allowed choices are pending, online, busy, benchmarked, error."],
    [["agents", "--label", "zone"], "Give a label as key=value."],
    [["agents", "--limit", "0"], "Give a whole number of at least 1."],
    [["agents", "--limit", "5", "--all"], "cannot be used with"],
    [["agents", "get", ".."], "The agent's name must be"],
    [["agents", "remove", "a/../b", "--yes"], "The agent's name must be"],
    [["agents", "remove", "a"], "say --yes"],
    [["tokens", "create"], "required option '--role <role>' not specified"],
    [["tokens", "create", "--role", "agent"], "Allowed choices are enrollment, operator, viewer, runner."],
    [["tokens", "create", "--role", "viewer", "--ttl", "soon"], "Give a duration such as"],
    [["errors", "--since", "yesterday"], "Give a duration back from now"],
    [["agents", "--timeout", "0s"], "Give a duration of more than 0"],
    [["agents", "--timeout", "30d"], "at most 24h"],
    [["agents", "--url", "nowhere"], "The server's address must be"],
  ])("%j ends with 2 and says %j", async (args, sentence) => {
    const ran = await runInProcess(args);
    expect(ran).toMatchObject({ code: 2, stdout: "" });
    expect(ran.stderr).toContain(sentence);
  });

  it("does not repeat a secret that was given for an id", async () => {
    const ran = await runInProcess(["tokens", "revoke", "drv_opr_id_hunter2_check"]);
    expect(ran).toMatchObject({ code: 2 });
    expect(ran.stderr).not.toContain("hunter2");
  });

  it("is Status JSON where JSON was asked for", async () => {
    const ran = await runInProcess(["agents", "get", "--json"]);
    expect(ran.code).toBe(2);
    expect(JSON.parse(ran.stderr)).toEqual({
      error: {
        code: 400,
        status: "INVALID_ARGUMENT",
        message: "missing required argument 'name'",
        details: [],
      },
    });
  });
});

async function closedAddress(): Promise<string> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("the server had no port");
  return `http://127.0.0.1:${address.port}`;
}
