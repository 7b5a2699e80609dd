import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createDashboard } from "../../src/doors/dashboard.ts";
import { createSignIn } from "../../src/doors/sign-in.ts";
import { SignInCodes } from "../../src/tokens/sign-in-codes.ts";
import { type OpenDoors, openDoors } from "../helpers/every-door.ts";

let folder: string;
let doors: OpenDoors;
const script = "console.log('hello');".repeat(40);
const expiresAt = new Date(0);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "drover-dashboard-"));
  await mkdir(join(folder, "assets"));
  await writeFile(join(folder, "index.html"), "<!doctype html><title>Drover</title>");
  await writeFile(join(folder, ".stamp"), "not for strangers");
  await writeFile(join(folder, "assets/index-abc.js"), script);
  await writeFile(join(folder, "assets/index-abc.js.br"), brotliCompressSync(script));
  await writeFile(join(folder, "assets/index-abc.js.gz"), gzipSync(script));
  const signIn = createSignIn(async (code) => (code === "good" ? { secret: "drv_", expiresAt } : undefined));
  doors = await openDoors({ services: [], handlers: [signIn, createDashboard(folder)] });
});
afterAll(async () => {
  await doors.stop();
  await rm(folder, { recursive: true });
});

/** Without fetch, which decodes what it gets. */
function ask(path: string, headers: Record<string, string> = {}) {
  return new Promise<{ status: number; headers: NodeJS.Dict<string | string[]>; body: Buffer }>(
    (resolve, reject) => {
      get(`${doors.webUrl}${path}`, { headers }, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk) => chunks.push(chunk));
        response.on("end", () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks),
          }),
        );
      }).on("error", reject);
    },
  );
}

describe("the page", () => {
  test("comes under a policy that lets nothing in from elsewhere, and is asked for again each time", async () => {
    const { status, headers } = await ask("/");
    expect(status).toBe(200);
    expect(headers).toMatchObject({
      "content-type": "text/html; charset=utf-8",
      "cache-control": "no-cache",
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
    });
    const policy = headers["content-security-policy"];
    for (const part of [
      "default-src 'none'",
      "script-src 'self'",
      "style-src 'self'",
      "connect-src 'self'",
      "frame-ancestors 'none'",
    ])
      expect(policy).toContain(part);
    expect(policy).not.toContain("unsafe");
  });

  test("is not sent again to whoever has it", async () => {
    const { headers } = await ask("/");
    const again = await ask("/", { "if-none-match": String(headers.etag) });
    expect(again.status).toBe(304);
    expect(again.body).toHaveLength(0);
    expect((await ask("/", { "if-none-match": '"other"' })).status).toBe(200);
  });

  test("can only be read; what is no file of it is not there", async () => {
    expect((await fetch(`${doors.webUrl}/`, { method: "POST" })).status).toBe(405);
    for (const path of [
      "/.stamp",
      "/assets/nothing.js",
      "/assets/../.stamp",
      "/%2e%2e/package.json",
      "/assets/index-abc.js.br",
    ])
      expect((await ask(path)).status, path).toBe(404);
  });

  test("says how it is built where it was not", async () => {
    const bare = await openDoors({ services: [], handlers: [createDashboard(join(folder, "nowhere"))] });
    const answer = await fetch(`${bare.webUrl}/`);
    expect(answer.status).toBe(503);
    expect(await answer.text()).toContain("npm install");
    await bare.stop();
  });
});

describe("hashed files", () => {
  test.each([
    ["br", "gzip, br", "br"],
    ["gzip", "gzip", "gzip"],
    ["gzip where br is refused", "gzip, br;q=0", "gzip"],
    ["plain", "identity", undefined],
  ])("are kept for good, and come as %s", async (_name, accepted, encoding) => {
    const { headers, body } = await ask("/assets/index-abc.js", { "accept-encoding": accepted });
    expect(headers["cache-control"]).toBe("public, max-age=31536000, immutable");
    expect(headers["content-encoding"]).toBe(encoding);
    expect(headers.vary).toContain("Accept-Encoding");
    const expected = { br: brotliCompressSync(script), gzip: gzipSync(script) };
    expect(body.equals(encoding === undefined ? Buffer.from(script) : expected[encoding as "br"])).toBe(true);
  });
});

describe("/sign-in", () => {
  const post = (body: string, type = "application/json") =>
    fetch(`${doors.webUrl}/sign-in`, { method: "POST", headers: { "content-type": type }, body });

  test("trades a good code for a token that nobody may keep", async () => {
    const answer = await post('{"code":"good"}');
    expect(answer.headers.get("cache-control")).toBe("no-store");
    expect(await answer.json()).toEqual({ secret: "drv_", expiresAt: expiresAt.toISOString() });
  });

  test.each([
    ["another code", '{"code":"bad"}', "application/json", 401],
    ["no JSON", "code=good", "application/json", 400],
    ["no code", "{}", "application/json", 400],
    ["far too much", `{"code":"${"x".repeat(5000)}"}`, "application/json", 400],
    ["a form", '{"code":"good"}', "text/plain", 415],
  ])("refuses %s", async (_name, body, type, status) => {
    expect((await post(body, type)).status).toBe(status);
  });

  test("is a POST", async () => {
    const answer = await fetch(`${doors.webUrl}/sign-in`);
    expect([answer.status, answer.headers.get("allow")]).toEqual([405, "POST"]);
  });
});

describe("sign-in codes", () => {
  test("are taken once, within a quarter of an hour", () => {
    let nowMs = 0;
    const codes = new SignInCodes(() => nowMs);
    const [first, second] = [codes.mint("p1"), codes.mint("p2")];
    expect(first.length).toBeGreaterThanOrEqual(32);
    expect(codes.take(first)).toBe("p1");
    expect(codes.take(first)).toBeUndefined();
    expect(codes.take("guess")).toBeUndefined();
    nowMs = 15 * 60_000;
    expect(codes.take(second)).toBeUndefined();
  });
});
