import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findSilent } from "../../src/liveness/liveness-store.ts";
import { LivenessSweeper, type SweepListener } from "../../src/liveness/liveness-sweeper.ts";
import { type LivenessThresholds, offlineAfterMs, staleAfterMs } from "../../src/liveness/thresholds.ts";
import { ensureProject } from "../../src/projects/project-store.ts";
import { newUuid } from "../../src/runtime/resource-id.ts";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { EmbeddedPostgres } from "../../src/storage/embedded-postgres.ts";
import { migrateDatabase } from "../../src/storage/migrate.ts";
import type { Benchmark, Measurement } from "./bench.ts";
import { measureReconnect } from "./liveness/reconnect.ts";
import { percentile } from "./statistics.ts";

const AGENTS = 100_000;
const LOST = 10_000;
const RUNS = 7;
const GOAL_MS = 100;
const thresholds: LivenessThresholds = {
  intervalMs: 15_000,
  staleAfter: 2,
  offlineAfter: 3,
  offlineGraceMs: 10_000,
};

const brake = { fraction: 0.55, minAgents: 5, agentsPerSecond: 0.1 };

/** What looking for silent agents costs, and for how long heartbeats wait for it. */
export const livenessBenchmark: Benchmark = {
  name: "liveness",
  what: `the sweep over ${AGENTS.toLocaleString("en")} agents, and agents whose server dies, on the embedded database`,
  async run(log) {
    const dataDir = await mkdtemp(join(tmpdir(), "drover-bench-"));
    await chmod(dataDir, 0o755);
    const postgres = new EmbeddedPostgres({
      dataDir,
      logger: { info() {}, warn: console.warn, error: console.error },
    });
    await postgres.start();
    try {
      await migrateDatabase(postgres.connection);
      const database = openDatabase({ ...postgres.connection, applicationName: "bench" });
      try {
        return merge(await measure(database, log), await measureReconnect(log));
      } finally {
        await database.close();
      }
    } finally {
      await postgres.stop();
      await rm(dataDir, { recursive: true, force: true });
    }
  },
};

const merge = (one: Measurement, other: Measurement): Measurement => ({
  figures: { ...one.figures, ...other.figures },
  goals: [...one.goals, ...other.goals],
  notes: [...one.notes, ...other.notes],
});

async function measure(database: Database, log: (line: string) => void) {
  await enroll(database);
  const quiet: number[] = [];
  const losses: number[] = [];
  const waits: number[] = [];
  for (let run = 1; run <= RUNS; run += 1) {
    // As heartbeats leave the table behind: every row written anew, on its page.
    await beatAll(database);
    quiet.push(await timed(() => lookForSilent(database)));
    const { sweepMs, waitsMs } = await loseSome(database);
    losses.push(sweepMs);
    waits.push(percentile(waitsMs, 0.99));
    log(
      `run ${run} of ${RUNS}: nobody silent ${quiet.at(-1)?.toFixed(1)} ms, ${LOST} lost ${sweepMs.toFixed(0)} ms, ` +
        `${waitsMs.length} heartbeats beside it`,
    );
  }
  return {
    figures: {
      "look, nobody silent": { unit: "ms", runs: quiet },
      [`marking ${LOST} lost`]: { unit: "ms", runs: losses },
      "heartbeat of a lost agent beside it, p99": { unit: "ms", runs: waits },
    },
    goals: [
      {
        words: `looking at ${AGENTS} agents at most ${GOAL_MS} ms`,
        met: (medians: Readonly<Record<string, number>>) =>
          (medians["look, nobody silent"] ?? Infinity) <= GOAL_MS,
      },
    ],
    notes: [
      "A look reads the whole narrow table, since an index on the time of the last heartbeat would be written by every heartbeat.",
      "The heartbeats beside it write the rows that are being marked, one after the other: their time holds the wait for a batch.",
    ],
  };
}

async function enroll(database: Database): Promise<void> {
  const { id } = await ensureProject(database.db, newUuid(), "default");
  await database.sql`
    WITH made AS (
      INSERT INTO agents (project_id, id, name)
      SELECT ${id}::uuid, gen_random_uuid(), 'agent-' || number FROM generate_series(1, ${AGENTS}::int) AS number
      RETURNING project_id, id
    )
    INSERT INTO agent_states (project_id, agent_id, liveness, status, version, last_seen_at)
    SELECT project_id, id, 'live', 'online', 2, clock_timestamp() FROM made`;
  await database.sql`
    INSERT INTO liveness_watch (since) VALUES (clock_timestamp() - interval '1 day')`;
}

async function beatAll(database: Database): Promise<void> {
  await database.sql`UPDATE agent_states SET liveness = 'live', last_seen_at = clock_timestamp()`;
}

const patience = { staleAfterMs: staleAfterMs(thresholds), offlineAfterMs: offlineAfterMs(thresholds) };

async function lookForSilent(database: Database): Promise<void> {
  const silent = await findSilent(database.db, patience, LOST);
  if (silent.length > 0) throw new Error(`${silent.length} agents were called silent that are not`);
}

/** Lets a sweeper find many losses at once, while their heartbeats come in one by one. */
async function loseSome(database: Database): Promise<{ sweepMs: number; waitsMs: number[] }> {
  const lost = await database.sql<{ agent_id: string }>`
    UPDATE agent_states SET last_seen_at = clock_timestamp() - interval '1 hour'
    WHERE agent_id IN (SELECT agent_id FROM agent_states LIMIT ${LOST})
    RETURNING agent_id`;
  await database.sql`UPDATE liveness_watch SET kept_at = clock_timestamp()`;
  let found = 0;
  let firstMs = 0;
  const waitsMs: number[] = [];
  const done = Promise.withResolvers<number>();
  const listener: SweepListener = {
    lost() {
      if (found === 0) firstMs = performance.now();
      found += 1;
      if (found === LOST) done.resolve(performance.now() - firstMs);
    },
    tasksChanged: () => {},
    braked: () => {},
    cordoned: () => {},
    failed: done.reject,
  };
  const giveBack = { backoff: { firstMs: 1_000, longestMs: 60_000 }, report: () => {} };
  const sweeper = new LivenessSweeper(database, {
    thresholds,
    readLongestInterval: async () => undefined,
    brake,
    giveBack,
    listener,
  });
  await sweeper.start();
  let over = false;
  const sweepMs = done.promise.finally(() => {
    over = true;
  });
  // Writes that keep each agent as silent as it is, so that all of them are lost in the end.
  for (let at = 0; !over; at = (at + 997) % LOST) {
    const agentId = lost[at]?.agent_id ?? "";
    waitsMs.push(
      await timed(
        () => database.sql`UPDATE agent_states SET sequence = sequence + 1 WHERE agent_id = ${agentId}
        AND project_id = (SELECT id FROM projects)`,
      ),
    );
  }
  const result = { sweepMs: await sweepMs, waitsMs };
  await sweeper.stop();
  return result;
}

async function timed(run: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await run();
  return performance.now() - startedMs;
}
