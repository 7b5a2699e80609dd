import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { refusal } from "./fake-rest-server.ts";
import { fakeServer, runAgainst } from "./with-fake-server.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "drover-cli-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const enrolled = { agent: { name: "gpu-1" }, secret: "drv_agt_id_secret_check", heartbeatInterval: "15s" };

describe("enroll", () => {
  it("prints the token alone on standard output, and sends what was asked", async () => {
    const server = await fakeServer(() => ({ json: enrolled }));
    const args =
      "enroll gpu-1 --token drv_enr_x --label zone=a --label __proto__=b --capability gpu --capability cpu";
    const ran = await runAgainst(server, [...args.split(" "), "--nonce", "n"]);
    expect(ran).toMatchObject({ code: 0, stdout: "drv_agt_id_secret_check\n" });
    expect(server.requests[0]).toMatchObject({ method: "POST", path: "/api/v1/agents:enroll" });
    expect(server.requests[0]?.headers.authorization).toBe("Bearer drv_enr_x");
    expect(JSON.stringify(server.requests[0]?.body)).toBe(
      '{"name":"gpu-1","nonce":"n","labels":{"zone":"a","__proto__":"b"},"capabilities":["gpu","cpu"]}',
    );
  });

  it("never sends the operator's token, which may not enroll", async () => {
    writeFileSync(join(folder, "operator.token"), "drv_opr_x");
    const server = await fakeServer(() => refusal(401, "UNAUTHENTICATED", "No valid token."));
    const env = { DROVER_TOKEN: "", DROVER_DATA_DIR: folder };
    const ran = await runAgainst(server, ["enroll", "a"], { env });
    expect(ran.code).toBe(3);
    expect(server.requests[0]?.headers.authorization).toBeUndefined();
  });

  it.each([
    ["--out", "deep/gpu-1.token", "deep/gpu-1.token"],
    ["--state-dir", "state", "state/agent.token"],
  ])("%s writes the token for its owner alone and prints it nowhere", async (flag, value, file) => {
    const server = await fakeServer(() => ({ json: enrolled }));
    const ran = await runAgainst(server, ["enroll", "gpu-1", flag, value], { cwd: folder });
    expect(ran).toMatchObject({ code: 0, stdout: "" });
    expect(ran.stderr).not.toContain("secret");
    const path = join(folder, file);
    expect(readFileSync(path, "utf8")).toBe("drv_agt_id_secret_check\n");
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it("asks for no token that it could not write", async () => {
    writeFileSync(join(folder, "taken"), "old");
    const server = await fakeServer(() => ({ json: enrolled }));
    const exists = await runAgainst(server, ["enroll", "gpu-1", "--out", "taken"], { cwd: folder });
    expect(exists.code).toBe(5);
    const below = await runAgainst(server, ["enroll", "gpu-1", "--out", "taken/below"], { cwd: folder });
    expect(below.code).toBe(1);
    expect(below.stderr).toMatch(/taken\/below cannot be written \((EEXIST|ENOTDIR)\)/);
    expect(server.requests).toHaveLength(0);
    expect(readFileSync(join(folder, "taken"), "utf8")).toBe("old");
  });

  it("names the nonce that brings another token when the first may have been lost", async () => {
    const server = await fakeServer(() => "break");
    const ran = await runAgainst(server, ["enroll", "gpu-1", "--out", "f"], { cwd: folder });
    expect(ran.code).toBe(6);
    expect(readdirSync(folder)).toEqual([]);
    const nonce = /enroll again with --nonce (\S+)\n$/.exec(ran.stderr)?.[1];
    expect(server.requests[0]?.body).toMatchObject({ nonce });
    expect(nonce).toHaveLength(36);
  });

  it("replaces a file when told to, and leaves it as it was when the server refuses", async () => {
    writeFileSync(join(folder, "taken"), "old", { mode: 0o644 });
    const server = await fakeServer((_request, count) =>
      count === 1 ? refusal(409, "ALREADY_EXISTS", "gpu-1 exists.") : { json: enrolled },
    );
    const args = ["enroll", "gpu-1", "--out", "taken", "--force"];
    expect((await runAgainst(server, args, { cwd: folder })).code).toBe(5);
    expect(readdirSync(folder)).toEqual(["taken"]);
    expect(readFileSync(join(folder, "taken"), "utf8")).toBe("old");
    expect((await runAgainst(server, args, { cwd: folder })).code).toBe(0);
    expect(readdirSync(folder)).toEqual(["taken"]);
    expect(statSync(join(folder, "taken")).mode & 0o777).toBe(0o600);
  });

  it("prints the answer as JSON, beside the file", async () => {
    const server = await fakeServer(() => ({ json: enrolled }));
    const ran = await runAgainst(server, ["enroll", "gpu-1", "--json", "--out", "f"], { cwd: folder });
    expect(JSON.parse(ran.stdout)).toEqual(enrolled);
    expect(ran.stderr).toBe("");
    expect(existsSync(join(folder, "f"))).toBe(true);
  });
});

describe("agents", () => {
  it("get shows all of one agent, and as JSON what the server sent", async () => {
    const agent = {
      name: "a",
      status: "online",
      gauges: { rate: 1.5 },
      deviceInfo: { gpu: "\u001b" },
      session: null,
    };
    const server = await fakeServer(() => ({ json: agent }));
    const ran = await runAgainst(server, ["agents", "get", "a"]);
    expect(ran.stdout).toMatch(/^name +a$/m);
    expect(ran.stdout).toMatch(/^gauges +rate=1\.5$/m);
    expect(ran.stdout).toMatch(/^device +\{"gpu":"\\u001b"\}$/m);
    expect(server.requests[0]).toMatchObject({ method: "GET", path: "/api/v1/agents/a" });
    const json = await runAgainst(server, ["agents", "get", "a", "--json"]);
    expect(json.stdout).toBe(`${JSON.stringify(agent)}\n`);
  });

  it("reset says what the agent is now", async () => {
    const server = await fakeServer(() => ({ json: { name: "a", status: "online" } }));
    expect((await runAgainst(server, ["agents", "reset", "a"])).stdout).toBe("a is online.\n");
    expect(server.requests[0]).toMatchObject({ method: "POST", path: "/api/v1/agents/a:reset" });
  });

  it("command prints the sequence of what it sent, and knows the kinds", async () => {
    const answer = { sequence: "7", kind: "echo", taskId: "", reason: "" };
    const server = await fakeServer(() => ({ json: answer }));
    const ran = await runAgainst(server, ["agents", "command", "a", "echo", "--reason", "are you there?"]);
    expect(ran).toMatchObject({ code: 0, stdout: "7\n" });
    expect(server.requests[0]).toMatchObject({
      method: "POST",
      path: "/api/v1/agents/a/commands",
      body: { kind: "echo", reason: "are you there?", requestId: expect.any(String) },
    });
    const json = await runAgainst(server, ["agents", "command", "a", "echo", "--json"]);
    expect(json.stdout).toBe(`${JSON.stringify(answer)}\n`);
    const wrong = await runAgainst(server, ["agents", "command", "a", "cancelTask"]);
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toContain("reportFullState, rotateToken, shutDown, echo");
    expect(server.requests).toHaveLength(2);
  });

  it("remove needs --yes where nobody can be asked", async () => {
    const server = await fakeServer(() => ({ json: {} }));
    expect((await runAgainst(server, ["agents", "remove", "a"])).code).toBe(2);
    expect(server.requests).toHaveLength(0);
    expect((await runAgainst(server, ["agents", "remove", "a", "--yes"])).stdout).toBe("a is removed.\n");
    expect(server.requests[0]).toMatchObject({ method: "DELETE", path: "/api/v1/agents/a" });
    expect((await runAgainst(server, ["agents", "remove", "a", "--yes", "--json"])).stdout).toBe("{}\n");
  });
});

describe("tokens", () => {
  const id = "token_01900000-0000-7000-8000-000000000000";

  it("create prints the secret alone on standard output", async () => {
    const server = await fakeServer(() => ({
      json: { token: { id, role: "enrollment" }, secret: "drv_enr_x" },
    }));
    const args = "tokens create --role enrollment --ttl 10m --max-uses 5 --label zone=a".split(" ");
    const ran = await runAgainst(server, args);
    expect(ran).toMatchObject({ code: 0, stdout: "drv_enr_x\n" });
    expect(ran.stderr).toContain(id);
    expect(server.requests[0]?.body).toEqual({
      role: "enrollment",
      ttl: "600s",
      maxUses: 5,
      labels: { zone: "a" },
      requestId: expect.any(String),
    });
  });

  it("get and revoke go by the id", async () => {
    const server = await fakeServer(() => ({ json: { id, role: "viewer", maxUses: 0 } }));
    expect((await runAgainst(server, ["tokens", "get", id])).stdout).toMatch(/^role +viewer$/m);
    expect((await runAgainst(server, ["tokens", "revoke", id])).stdout).toBe(`${id} is revoked.\n`);
    expect(server.requests.map(({ method, path }) => `${method} ${path}`)).toEqual([
      `GET /api/v1/tokens/${id}`,
      `DELETE /api/v1/tokens/${id}`,
    ]);
  });

  it("list shows uses, expiry and revocation", async () => {
    const tokens = [
      { id, role: "enrollment", maxUses: 5, uses: 2, expiresAt: "2030-01-31T00:00:00Z", revokedAt: null },
    ];
    const server = await fakeServer(() => ({ json: { tokens } }));
    const ran = await runAgainst(server, ["tokens"]);
    expect(ran.stdout).toMatch(/enrollment +- +2 of 5 +- +2030-01-31 00:00:00Z +- +-$/m);
  });
});

it("projects create makes one", async () => {
  const server = await fakeServer(() => ({ json: { id: "project_1", name: "blue" } }));
  const ran = await runAgainst(server, ["projects", "create", "blue"]);
  expect(ran.stdout).toBe("blue is made, with the id project_1.\n");
  expect(server.requests[0]?.body).toMatchObject({ name: "blue" });
});
