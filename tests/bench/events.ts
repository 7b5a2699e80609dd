import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { sql } from "drizzle-orm";
import { appendEvents } from "../../src/events/outbox.ts";
import { newUuid } from "../../src/runtime/resource-id.ts";
import { type Database, inTransaction, openDatabase } from "../../src/storage/database.ts";
import { EmbeddedPostgres } from "../../src/storage/embedded-postgres.ts";
import { type ServerProcess, startServer } from "../helpers/server-process.ts";
import type { Benchmark } from "./bench.ts";
import { percentile } from "./statistics.ts";

const WATCHES = 100;
const EVENTS_PER_SECOND = 1_000;
const SECONDS = 5;
const RUNS = 5;
const GOAL_MS = 100;
const WRITERS = 16;
const WRITE_MS = 2_000;
/** A transaction of so many events every so many ms makes the rate. */
const BATCH = 10;
const EVERY_MS = (1_000 * BATCH) / EVENTS_PER_SECOND;

/** How soon watches hear of what was committed, and what the outbox costs those who write. */
export const eventsBenchmark: Benchmark = {
  name: "events",
  what: `${EVENTS_PER_SECOND} events a second to ${WATCHES} watches over REST, and the cost of appending them`,
  async run(log) {
    const dataDir = await mkdtemp(join(tmpdir(), "drover-bench-"));
    await chmod(dataDir, 0o755);
    const postgres = new EmbeddedPostgres({
      dataDir,
      logger: { info() {}, warn: console.warn, error: console.error },
    });
    await postgres.start();
    try {
      const server = await startServer({ databaseUrl: postgres.connection.url });
      const database = openDatabase({
        ...postgres.connection,
        applicationName: "bench",
        maxConnections: WRITERS,
      });
      try {
        return await measure(server, database, log);
      } finally {
        await database.close();
        await server.stop();
      }
    } finally {
      await postgres.stop();
      await rm(dataDir, { recursive: true, force: true });
    }
  },
};

async function measure(server: ServerProcess, database: Database, log: (line: string) => void) {
  const [project] = await database.sql<{ id: string }>`SELECT id FROM projects`;
  const projectId = project?.id ?? "";
  const [medians, tails, plain, appending]: [number[], number[], number[], number[]] = [[], [], [], []];
  for (let run = 1; run <= RUNS; run += 1) {
    const latencies = await deliver(server, database, projectId);
    medians.push(percentile(latencies, 0.5));
    tails.push(percentile(latencies, 0.99));
    plain.push(await writeRate(database, projectId, false));
    appending.push(await writeRate(database, projectId, true));
    log(
      `run ${run} of ${RUNS}: ${latencies.length} deliveries, p99 ${tails.at(-1)?.toFixed(0)} ms; ` +
        `${plain.at(-1)?.toFixed(0)} writes/s, ${appending.at(-1)?.toFixed(0)} with an event each`,
    );
  }
  return {
    figures: {
      "written to delivered, p50": { unit: "ms", runs: medians },
      "written to delivered, p99": { unit: "ms", runs: tails },
      "writes without events": { unit: "tx/s", runs: plain },
      "writes with an event each": { unit: "tx/s", runs: appending },
    },
    goals: [
      {
        words: `p99 at most ${GOAL_MS} ms at ${EVENTS_PER_SECOND} events/s to ${WATCHES} watches`,
        met: (figures: Readonly<Record<string, number>>) =>
          (figures["written to delivered, p99"] ?? Infinity) <= GOAL_MS,
      },
    ],
    notes: [
      "Time runs from the insert, which is a little before the commit, by the clock of the machine that all of them share.",
      "Server, database, the writer and the 100 readers share the machine; the readers parse each frame.",
    ],
  };
}

/** Milliseconds from the writing of each event to each watch that got it. */
async function deliver(server: ServerProcess, database: Database, projectId: string): Promise<number[]> {
  const total = EVENTS_PER_SECOND * SECONDS;
  const latencies: number[] = [];
  const stop = new AbortController();
  const opened: Promise<void>[] = [];
  const watches = Array.from({ length: WATCHES }, async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    opened.push(promise);
    const response = await fetch(`${server.httpUrl}/api/v1/events:watch?types=task.created`, {
      headers: { authorization: `Bearer ${server.operatorToken}` },
      signal: stop.signal,
    });
    let [rest, seen] = ["", 0];
    for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      resolve();
      const nowMs = performance.timeOrigin + performance.now();
      const lines = `${rest}${chunk}`.split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const event = JSON.parse(line) as { type: string; time: string };
        if (event.type === "bookmark") continue;
        latencies.push(nowMs - Date.parse(event.time));
        seen += 1;
      }
      if (seen >= total) return;
    }
  });
  await Promise.all(opened);
  const startMs = performance.now();
  for (let sent = 0, tick = 1; sent < total; sent += BATCH, tick += 1) {
    await inTransaction(database.db, (tx) => appendEvents(tx, drafts(projectId, BATCH)));
    await delay(Math.max(0, startMs + tick * EVERY_MS - performance.now()));
  }
  await Promise.all(watches);
  stop.abort();
  return latencies;
}

function drafts(projectId: string, count: number) {
  return Array.from({ length: count }, () => ({
    projectId,
    type: "task.created" as const,
    subject: `task_${newUuid()}`,
    data: { kind: "hash", from: "", to: "pending", leaseEpoch: "0", actor: "token:bench" },
  }));
}

/** Transactions a second that change one row each, and append its event or not. */
async function writeRate(database: Database, projectId: string, withEvent: boolean): Promise<number> {
  const endMs = performance.now() + WRITE_MS;
  let written = 0;
  const write = async () => {
    const agentId = newUuid();
    await database.sql`INSERT INTO agent_states (project_id, agent_id) VALUES (${projectId}, ${agentId})`;
    while (performance.now() < endMs) {
      await inTransaction(database.db, async (tx) => {
        await tx.execute(sql`UPDATE agent_states SET version = version + 1 WHERE agent_id = ${agentId}
          AND project_id = ${projectId}`);
        if (withEvent) await appendEvents(tx, drafts(projectId, 1));
      });
      written += 1;
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, write));
  return written / (WRITE_MS / 1_000);
}
