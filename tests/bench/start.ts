import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Benchmark } from "./bench.ts";

const bin = fileURLToPath(new URL("../../bin/drover.js", import.meta.url));
const RUNS = 7;

/** From the start of the process to the first answer over HTTP, on the embedded database: the first time, and later. */
export const startBenchmark: Benchmark = {
  name: "start",
  what: "drover serve on its embedded database, from the process's start to the first answer",
  async run(log) {
    const first: number[] = [];
    const later: number[] = [];
    for (let round = 0; round < RUNS; round += 1) {
      const dataDir = await mkdtemp(join(tmpdir(), "drover-bench-"));
      try {
        first.push(await startOnce(dataDir));
        later.push(await startOnce(dataDir));
        log(
          `round ${round + 1} of ${RUNS}: first ${first.at(-1)?.toFixed(0)} ms, second ${later.at(-1)?.toFixed(0)} ms`,
        );
      } finally {
        await rm(dataDir, { recursive: true, force: true });
      }
    }
    return {
      figures: { "first start": { unit: "ms", runs: first }, "second start": { unit: "ms", runs: later } },
      goals: [
        {
          words: "second start at most 1,500 ms",
          met: (medians) => (medians["second start"] ?? Infinity) <= 1500,
        },
      ],
      notes: ["The first start makes the database's files; every start runs the migrations that are due."],
    };
  },
};

/** Milliseconds until the server answered; the server is stopped again before this resolves. */
async function startOnce(dataDir: string): Promise<number> {
  const startedMs = performance.now();
  const server = spawn(process.execPath, [bin, "serve"], {
    env: {
      ...process.env,
      DROVER_DATA_DIR: dataDir,
      DROVER_HTTP_ADDR: "127.0.0.1:0",
      DROVER_GRPC_ADDR: "127.0.0.1:0",
      DATABASE_URL: "",
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(server, "exit");
  try {
    for await (const line of createInterface({ input: server.stdout })) {
      const url = /http:\/\/\S+/.exec(line)?.[0];
      if (url === undefined) continue;
      // The first answer of the API itself: a call without a token goes through door, transcoder and access rules.
      const answer = await fetch(`${url}/api/v1/agents`);
      await answer.text();
      if (answer.status !== 401) throw new Error(`the server answered ${answer.status}`);
      return performance.now() - startedMs;
    }
    throw new Error("the server ended before it served");
  } finally {
    server.kill("SIGTERM");
    await exited;
  }
}
