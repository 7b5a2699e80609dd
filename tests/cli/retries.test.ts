import { describe, expect, it } from "vitest";
import { refusal, type SeenRequest } from "./fake-rest-server.ts";
import { fakeServer, runAgainst } from "./with-fake-server.ts";

const unavailable = refusal(503, "UNAVAILABLE", "Starting.");

function requestId({ body, query }: SeenRequest): unknown {
  return query.get("requestId") ?? (body as Record<string, unknown> | undefined)?.requestId;
}

describe("a mutation", () => {
  it.each<[string, string[]]>([
    ["reset", ["agents", "reset", "a"]],
    ["remove", ["agents", "remove", "a", "--yes"]],
    ["create", ["tokens", "create", "--role", "viewer"]],
    ["revoke", ["tokens", "revoke", "token_01900000-0000-7000-8000-000000000000"]],
    ["project", ["projects", "create", "blue"]],
  ])("%s is repeated under its own request_id after a lost connection and a 503", async (_name, args) => {
    const server = await fakeServer((_request, count) => {
      if (count === 1) return "break";
      return count === 2 ? unavailable : { json: { secret: "drv_vwr_x" } };
    });
    const ran = await runAgainst(server, args);
    expect(ran.code).toBe(0);
    const ids = server.requests.map(requestId);
    expect(ids).toHaveLength(3);
    expect(ids[0]).toMatch(/^[0-9a-f-]{36}$/);
    expect(new Set(ids).size).toBe(1);
  });

  it("is another one the next time", async () => {
    const server = await fakeServer(() => ({ json: {} }));
    await runAgainst(server, ["agents", "reset", "a"]);
    await runAgainst(server, ["agents", "reset", "a"]);
    expect(new Set(server.requests.map(requestId)).size).toBe(2);
  });

  it("is given up after three tries, with a word on what is not known", async () => {
    const server = await fakeServer(() => "break");
    const ran = await runAgainst(server, ["agents", "reset", "a"]);
    expect(server.requests).toHaveLength(3);
    expect(ran.code).toBe(6);
    expect(ran.stderr).toMatch(/broke before an answer came \(\w+\)\. The call may have taken effect\.\n$/);
  });

  it("is not repeated when the server refuses it", async () => {
    const server = await fakeServer(() => refusal(409, "ABORTED", "No."));
    await runAgainst(server, ["agents", "reset", "a"]);
    expect(server.requests).toHaveLength(1);
  });
});

it("an enrollment is repeated under its own nonce", async () => {
  const server = await fakeServer((_request, count) =>
    count === 1 ? "break" : { json: { agent: { name: "a" }, secret: "drv_agt_x" } },
  );
  const ran = await runAgainst(server, ["enroll", "a"]);
  expect(ran).toMatchObject({ code: 0, stdout: "drv_agt_x\n" });
  const [first, second] = server.requests.map(({ body }) => body);
  expect(first).toMatchObject({ name: "a", nonce: expect.stringMatching(/^[0-9a-f-]{36}$/) });
  expect(second).toEqual(first);
});

it("a Retry-After is waited for", async () => {
  let refusedAt = 0;
  let waitedMs = 0;
  const server = await fakeServer((_request, count) => {
    if (count === 1) {
      refusedAt = performance.now();
      return { status: 503, headers: { "retry-after": "1" }, text: "" };
    }
    waitedMs = performance.now() - refusedAt;
    return { json: { agents: [] } };
  });
  expect((await runAgainst(server, ["agents"])).code).toBe(0);
  expect(waitedMs).toBeGreaterThan(950);
});
