import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { afterEach, expect, it } from "vitest";
import { taskId } from "./fake-session-server.ts";
import { fakeServer } from "./with-agent.ts";

const program = fileURLToPath(new URL("blocking-agent.ts", import.meta.url));

let child: ChildProcess | undefined;
afterEach(() => child?.kill("SIGKILL"));

it("heartbeats go on, and the lease with them, while the work blocks the event loop", async () => {
  const server = await fakeServer();
  server.intervalMs = 100;
  server.leaseMs = 500;
  const running = spawn(process.execPath, [program, server.url], { stdio: ["ignore", "pipe", "inherit"] });
  child = running;
  const stdout = text(running.stdout);
  await server.hears("ready");
  server.assign({ id: taskId(1), kind: "block", payload: 2000 });
  const accepted = await server.hears("taskUpdate");
  const done = await server.hears("taskComplete");
  expect(done.heard.atMs - accepted.heard.atMs).toBeGreaterThan(1900);
  const beats = server.heard
    .slice(accepted.index, done.index)
    .flatMap(({ request, atMs }) => (request.message.case === "heartbeat" ? [atMs] : []));
  const gaps = beats.slice(1).map((atMs, index) => atMs - (beats[index] ?? 0));
  // Twenty intervals long nothing of the main thread ran; the lease was four times as short.
  expect(beats.length).toBeGreaterThan(10);
  expect(Math.max(...gaps)).toBeLessThan(500);
  running.kill();
  await once(running, "exit");
  // Renewals that stood in line while the thread was blocked were heard before any clock was believed.
  expect(await stdout).toBe("");
});
