import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { parseAllowedHost } from "../../src/trackers/address-guard.ts";
import { readCredential } from "../../src/trackers/credential.ts";
import { createGitHubTracker } from "../../src/trackers/github-tracker.ts";
import { type Tracker, TrackerFailure } from "../../src/trackers/tracker.ts";
import { always, type FakeGitHub, payloadOf, sendJson, startFakeGitHub } from "../helpers/fake-github.ts";

let github: FakeGitHub;
beforeAll(async () => {
  github = await startFakeGitHub();
  github.put("acme/a", [{ number: 1 }]);
});
afterAll(() => github.stop());

const opened: Tracker[] = [];
afterEach(async () => {
  github.misbehave("acme/a", undefined);
  github.calls.length = 0;
  for (const tracker of opened.splice(0)) await tracker.close();
});

function open(
  more: { credential?: string; timeoutMs?: number; baseUrl?: string; allow?: boolean } = {},
): Tracker {
  const { credential, timeoutMs = 5_000, baseUrl = github.url, allow = true } = more;
  const allowed = parseAllowedHost(github.allowed);
  const tracker = createGitHubTracker({
    baseUrl,
    repository: "acme/a",
    credential,
    timeoutMs,
    allowed: allow && allowed !== undefined ? [allowed] : [],
  });
  opened.push(tracker);
  return tracker;
}

const start = { since: undefined, page: 1, etag: "" };
const never = new AbortController().signal;

async function failureOf(work: Promise<unknown>): Promise<TrackerFailure> {
  const error: unknown = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof TrackerFailure) return error;
  throw new Error(`no failure: ${String(error)}`);
}

describe("answers", () => {
  test("of 5xx are asked for again, twice", async () => {
    let left = 2;
    github.misbehave("acme/a", (_call, answer) => {
      if (left === 0) return false;
      left -= 1;
      sendJson(answer, 502, {});
      return true;
    });
    expect(await open().fetchChanges(start, never)).toMatchObject({ kind: "page", issues: [{ number: 1 }] });
    expect(github.calls).toHaveLength(3);
    github.misbehave("acme/a", always(503));
    expect(await failureOf(open().fetchChanges(start, never))).toMatchObject({
      kind: "refused",
      message: "it answered with status 503",
    });
  });

  test.each([
    [401, {}, "refused"],
    [403, {}, "refused"],
    [404, {}, "refused"],
    [429, { "retry-after": "90" }, "rate-limited"],
    [403, { "retry-after": "90" }, "rate-limited"],
  ])("%i with %j is %s", async (status, headers, kind) => {
    github.misbehave("acme/a", always(status, headers));
    const failure = await failureOf(open({ credential: "secret-token" }).fetchChanges(start, never));
    expect(failure.kind).toBe(kind);
    expect(failure.restMs).toBe(kind === "rate-limited" ? 90_000 : undefined);
    expect(github.calls).toHaveLength(1);
    expect(github.calls[0]?.authorization).toBe("token secret-token");
  });

  test("that redirect are followed nowhere, inward least of all", async () => {
    let visits = 0;
    const hidden = createServer((_request, answer) => {
      visits += 1;
      sendJson(answer, 200, []);
    });
    hidden.listen(0, "127.0.0.1");
    await once(hidden, "listening");
    // It listens on TCP.
    const { port } = hidden.address() as AddressInfo;
    for (const status of [301, 302, 307, 308]) {
      github.misbehave("acme/a", always(status, { location: `http://127.0.0.1:${port}/` }));
      expect((await failureOf(open().fetchChanges(start, never))).message).toBe(
        `it answered with status ${status}`,
      );
    }
    expect(visits).toBe(0);
    hidden.close();
  });

  test("that do not come, or come slowly, end in time", async () => {
    github.misbehave("acme/a", () => true);
    expect((await failureOf(open({ timeoutMs: 200 }).fetchChanges(start, never))).kind).toBe("unreachable");
    github.misbehave("acme/a", (_call, answer) => {
      answer.writeHead(200, { "content-type": "application/json" });
      answer.write("[");
      return true;
    });
    const slow = await failureOf(open({ timeoutMs: 200 }).fetchChanges(start, never));
    expect(slow.message).toContain("did not answer within 0.2 s");
  });

  test("end with the signal, also between tries", async () => {
    github.misbehave("acme/a", () => true);
    const stop = new AbortController();
    const work = open().fetchChanges(start, stop.signal);
    stop.abort(new Error("enough"));
    await expect(work).rejects.toThrow("enough");
  });

  test("larger than a page can be are left", async () => {
    github.misbehave("acme/a", (_call, answer) => {
      answer.writeHead(200, { "content-type": "application/json" });
      answer.end(Buffer.alloc(16 * 1024 * 1024 + 1, " "));
      return true;
    });
    expect((await failureOf(open().fetchChanges(start, never))).kind).toBe("bad-answer");
  });

  test.each([
    ["an object", {}],
    ["more than a page", Array.from({ length: 101 }, (_, n) => payloadOf("acme/a", { number: n + 1 }))],
    ["a script as address", [{ ...payloadOf("acme/a", { number: 1 }), html_url: "javascript:alert(1)" }]],
    ["no number", [{ ...payloadOf("acme/a", { number: 1 }), number: "1" }]],
    ["no time", [{ ...payloadOf("acme/a", { number: 1 }), updated_at: "yesterday" }]],
  ])("with %s are no list of issues", async (_what, body) => {
    github.misbehave("acme/a", (_call, answer) => {
      sendJson(answer, 200, body);
      return true;
    });
    expect((await failureOf(open().fetchChanges(start, never))).kind).toBe("bad-answer");
  });

  test("that repeat the credential lose it", async () => {
    github.misbehave("acme/a", (call, answer) => {
      const said = call.authorization?.replace("token ", "") ?? "";
      sendJson(answer, 200, [payloadOf("acme/a", { number: 1, title: `you said ${said}`, labels: [said] })]);
      return true;
    });
    const page = await open({ credential: "secret-token" }).fetchChanges(start, never);
    expect(page).toMatchObject({ issues: [{ title: "you said [REDACTED]", labels: ["[REDACTED]"] }] });
  });

  test("as GitHub really gives them are read", async () => {
    // Not by its own loader, which would come between this process and every server.
    const scenario = "scenarios/api.github.com/paginate-issues/normalized-fixture.json";
    const recorded: { response: unknown }[] = JSON.parse(
      readFileSync(new URL(scenario, import.meta.resolve("@octokit/fixtures")), "utf8"),
    );
    const pages = recorded.map(({ response }) => response).filter((body) => Array.isArray(body));
    expect(pages.length).toBeGreaterThan(0);
    for (const body of pages) {
      github.misbehave("acme/a", (_call, answer) => {
        sendJson(answer, 200, body);
        return true;
      });
      const page = await open().fetchChanges(start, never);
      if (page.kind !== "page") throw new Error("a page is expected");
      expect(page.issues).toHaveLength(body.length);
      // The fake speaks of an issue in the same words.
      const names = Object.keys(payloadOf("acme/a", { number: 1 }));
      expect(names.filter((name) => !(name in body[0]))).toEqual([]);
    }
  });
});

describe("connections", () => {
  test("to a name that resolves inward are refused", async () => {
    const failure = await failureOf(
      open({ baseUrl: "https://localhost:8443/api/v3", allow: false }).fetchChanges(start, never),
    );
    expect(failure.message).toContain("private, loopback or link-local");
  });

  test("to nobody say why", async () => {
    const closed = createServer().listen(0, "127.0.0.1");
    await once(closed, "listening");
    // It listens on TCP.
    const { port } = closed.address() as AddressInfo;
    await new Promise((resolve) => closed.close(resolve));
    const allowed = parseAllowedHost(`http://127.0.0.1:${port}`);
    const tracker = createGitHubTracker({
      baseUrl: `http://127.0.0.1:${port}`,
      repository: "acme/a",
      credential: undefined,
      timeoutMs: 2_000,
      allowed: allowed === undefined ? [] : [allowed],
    });
    opened.push(tracker);
    expect((await failureOf(tracker.fetchChanges(start, never))).message).toBe(
      "it cannot be reached (ECONNREFUSED)",
    );
  });
});

describe("credentials", () => {
  test("come from the environment or a file, and nothing else is told of either", async () => {
    const folder = await mkdtemp(join(tmpdir(), "drover-credential-"));
    const file = join(folder, "token");
    await writeFile(file, "ghp_abc\n");
    process.env.DROVER_TEST_CREDENTIAL = " ghp_env ";
    expect(await readCredential("")).toBeUndefined();
    expect(await readCredential(`file:${file}`)).toBe("ghp_abc");
    expect(await readCredential("env:DROVER_TEST_CREDENTIAL")).toBe("ghp_env");
    await writeFile(file, "two words");
    const bad = [`file:${file}`, `file:${folder}`, "file:/nowhere/at/all", "env:DROVER_TEST_NONE", "other:x"];
    for (const reference of bad) {
      const { message } = await failureOf(readCredential(reference));
      expect(message).toBe(`its credential ${reference} is not there, or is no token`);
    }
    delete process.env.DROVER_TEST_CREDENTIAL;
    await rm(folder, { recursive: true });
  });
});
