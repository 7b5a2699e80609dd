import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { runDrover, startDrover } from "../helpers/run-drover.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { refusal } from "./fake-rest-server.ts";
import { fakeServer, runAgainst } from "./with-fake-server.ts";

const event = (seq: number, type = "task.created") => ({
  cursor: `7.${seq}`,
  type,
  time: "2026-01-02T03:04:05.678Z",
  subject: "task_1",
  data: { kind: "hash", from: "", to: "pending", agent: "gpu-1", evil: "\u001b[31m" },
});

let children: ChildProcess[] = [];
const closers: (() => void)[] = [];
afterEach(() => {
  for (const child of children) child.kill("SIGKILL");
  for (const close of closers.splice(0)) close();
  children = [];
});

/** A server whose every connection brings what the next of `parts` says, and then breaks or stays. */
async function streaming(parts: { lines: object[]; ending: "break" | "end" | "stay" }[]) {
  const seen: URLSearchParams[] = [];
  const server = createServer((request, response) => {
    seen.push(new URL(request.url ?? "/", "http://fake").searchParams);
    const part = parts[Math.min(seen.length, parts.length) - 1];
    response.writeHead(200, { "content-type": "application/x-ndjson" });
    for (const line of part?.lines ?? []) response.write(`${JSON.stringify(line)}\n`);
    if (part?.ending === "end") response.end();
    // The lines are on their way before the connection breaks.
    if (part?.ending === "break") response.write("", () => setImmediate(() => response.destroy()));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

function watching(url: string, args: string[] = []) {
  const env = { DROVER_URL: url, DROVER_TOKEN: "drv_opr_id_secret_check" };
  const child = startDrover(["watch", ...args], { env });
  children.push(child);
  const output = { out: "", err: "" };
  child.stdout?.on("data", (chunk: Buffer) => {
    output.out += String(chunk);
  });
  child.stderr?.on("data", (chunk: Buffer) => {
    output.err += String(chunk);
  });
  return { child, output, lines: () => output.out.split("\n").slice(0, -1) };
}

describe("drover watch", () => {
  test("prints a line an event, and goes on behind the last cursor after a break, an end and an error", async () => {
    const unavailable = { error: { code: 503, status: "UNAVAILABLE", message: "stopping", details: [] } };
    const server = await streaming([
      { lines: [event(1, "bookmark"), event(2)], ending: "break" },
      { lines: [event(3)], ending: "end" },
      { lines: [event(4), unavailable], ending: "end" },
      { lines: [event(5)], ending: "stay" },
    ]);
    const run = watching(server.url, ["--type", "task.*", "--type", "agent.removed", "--agent", "gpu-1"]);
    await waitFor(() => run.lines().length >= 4, { what: "four events", timeoutMs: 25_000 });
    expect(run.lines()).toHaveLength(4);
    expect(run.lines()[0]).toMatch(
      /^2026-01-02 03:04:05Z {2}task\.created +task_1 {2}gpu-1 {2}hash {2}- → pending$/,
    );
    expect(server.seen.map((query) => query.get("after"))).toEqual([null, "7.2", "7.3", "7.4"]);
    expect(server.seen[3]?.getAll("types")).toEqual(["task.*", "agent.removed"]);
    const goesOn = "Going on from the last event.";
    expect(run.output.err).toBe(
      [
        `The connection to ${server.url} was lost. ${goesOn}`,
        `The watch at ${server.url} ended: stopping. ${goesOn}`,
        "",
      ].join("\n"),
    );
  });

  test("--json prints the frames as they came, bookmarks too", async () => {
    const server = await streaming([{ lines: [event(1, "bookmark"), event(2)], ending: "stay" }]);
    const run = watching(server.url, ["--json", "--after", "7.0"]);
    await waitFor(() => run.lines().length >= 2, { what: "two frames", timeoutMs: 25_000 });
    expect(run.lines().map((line) => JSON.parse(line) as unknown)).toEqual([event(1, "bookmark"), event(2)]);
    expect(server.seen[0]?.get("after")).toBe("7.0");
  });

  test.each([
    ["OUT_OF_RANGE", 400, 2],
    ["UNAUTHENTICATED", 401, 3],
    ["INVALID_ARGUMENT", 400, 2],
  ])("ends where nothing can be resumed: %s", async (status, http, code) => {
    const server = await fakeServer(() => refusal(http, status, "no"));
    const ran = await runAgainst(server, ["watch", "--after", "7.1"]);
    expect(ran.code).toBe(code);
    expect(server.requests).toHaveLength(1);
  });

  test("says at once that no server answers", async () => {
    const env = { DROVER_URL: "http://127.0.0.1:9", DROVER_TOKEN: "drv_opr_id_secret_check" };
    const ran = await runDrover(["watch"], { env });
    expect(ran.code).toBe(6);
  });
});
