import { durationMs } from "@bufbuild/protobuf/wkt";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AgentStatus, Liveness } from "../../gen/drover/v1/agent_pb.js";
import { HeartbeatPacer } from "../../src/heartbeat/heartbeat-pacer.ts";
import { readLongestInterval } from "../../src/heartbeat/pace-store.ts";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { enrollAgents } from "../helpers/fleet-api.ts";
import { type Stage, setStage } from "../helpers/stage.ts";
import { createTestDatabase, type TestDatabase } from "../helpers/test-database.ts";
import { waitFor } from "../helpers/wait-for.ts";

let place: TestDatabase;
let database: Database;
beforeAll(async () => {
  place = await createTestDatabase();
  database = openDatabase({ url: place.url, applicationName: "tests" });
});
afterAll(async () => {
  await database.close();
  await place.drop();
});

function pacerOf(settings: { baseMs?: number; mostPerSecond?: number; leaseMs?: number } = {}) {
  const rules = { baseMs: 1_000, mostPerSecond: 10, leaseMs: 3_000, ...settings };
  return new HeartbeatPacer(
    database.db,
    { ...rules, patienceMs: (intervalMs) => 3 * intervalMs + 10_000 },
    (error) => {
      throw error;
    },
  );
}

async function addAgents(count: number): Promise<void> {
  await database.sql`
    INSERT INTO agent_states (project_id, agent_id, liveness, last_seen_at)
    SELECT gen_random_uuid(), gen_random_uuid(), 'live', clock_timestamp() FROM generate_series(1, ${count}::int)`;
}

test("tells the usual interval and nobody is to wait longer, while few come", async () => {
  const pacer = pacerOf({ mostPerSecond: 1_000 });
  await pacer.start();
  expect([pacer.next(), pacer.intervalMs, pacer.leaseMs]).toEqual([1_000, 1_000, 3_000]);
  await pacer.stop();
});

test("tells a longer one after a crowd only when the database knows of it, and leases are longer too", async () => {
  const pacer = pacerOf();
  await pacer.start();
  expect(pacer.next()).toBe(1_000);
  const longer = await waitFor(
    async () => {
      const nextMs = pacer.next();
      return nextMs > 1_000 ? nextMs : undefined;
    },
    { what: "a longer interval" },
  );
  const known = await readLongestInterval(database.db);
  expect(known).toBeGreaterThanOrEqual(longer);
  expect(pacer.leaseMs).toBeGreaterThanOrEqual(3 * longer);
  await pacer.stop();
});

test("counts the fleet before it tells anybody anything", async () => {
  await addAgents(100);
  const pacer = pacerOf();
  await pacer.start();
  expect(pacer.intervalMs).toBe(10_000);
  const told = Array.from({ length: 50 }, () => pacer.next());
  expect(Math.min(...told)).toBeGreaterThanOrEqual(10_000);
  expect(new Set(told).size).toBeGreaterThan(25);
  expect(await readLongestInterval(database.db)).toBeGreaterThanOrEqual(Math.max(...told));
  await pacer.stop();
});

test("an announcement of another server makes leases longer here", async () => {
  await database.sql`
    INSERT INTO dictated_intervals (server_id, interval_ms, counts_until)
    VALUES (gen_random_uuid(), 60000, clock_timestamp() + interval '1 minute')`;
  const pacer = pacerOf();
  await pacer.start();
  expect(pacer.leaseMs).toBeGreaterThanOrEqual(180_000);
  await pacer.stop();
});

test("an agent that keeps to what it was told is never called silent, one that does not is", async () => {
  const stage: Stage = await setStage({
    env: {
      DROVER_HEARTBEAT_INTERVAL: "1s",
      DROVER_STALE_AFTER: "1.5",
      DROVER_OFFLINE_AFTER: "2",
      DROVER_OFFLINE_GRACE: "0s",
      DROVER_LEASE: "3s",
      DROVER_MAX_HEARTBEATS_PER_SECOND: "1",
    },
  });
  try {
    const agents = await enrollAgents(stage.fleet, stage.operator, 3);
    const beat = async (token: string) => {
      const answer = await stage.fleet.agent(token).heartbeat({ status: AgentStatus.ONLINE });
      if (answer.nextHeartbeat === undefined) throw new Error("no interval was told");
      return durationMs(answer.nextHeartbeat);
    };
    for (const { token } of agents) await beat(token);
    const [first] = agents;
    if (first === undefined) throw new Error("no agent");
    const toldMs = await waitFor(
      async () => {
        const [nextMs = 0] = await Promise.all(agents.map(({ token }) => beat(token)));
        return nextMs >= 3_000 ? nextMs : undefined;
      },
      { what: "an interval for three agents", timeoutMs: 20_000 },
    );
    // The guarantee is about time itself: twice the usual patience, and within what the agent was told.
    await new Promise((resolve) => setTimeout(resolve, Math.min(toldMs, 2_600)));
    const { agent } = await stage.operator.fleet.getAgent({ agent: first.name });
    expect(agent?.liveness).toBe(Liveness.LIVE);
    const isLost = async () => {
      const shown = await stage.operator.fleet.getAgent({ agent: first.name });
      return shown.agent?.liveness === Liveness.OFFLINE;
    };
    await waitFor(isLost, { what: "the loss of an agent that stopped", timeoutMs: 60_000, everyMs: 200 });
  } finally {
    await stage.close();
  }
}, 120_000);
