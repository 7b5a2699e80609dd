import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import type { AgentCaller } from "../../src/identity/caller.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { startTaskFixture, type TaskFixture } from "../tasks/task-fixture.ts";
import {
  breakWatch,
  livenessLog,
  livenessOf,
  type Sweep,
  silence,
  startSweep,
  watchSince,
} from "./sweep-fixture.ts";

const DAY = 86_400;

let fixture: TaskFixture;
let sweep: Sweep;
let agents = 0;
beforeAll(async () => {
  fixture = await startTaskFixture();
});
afterAll(() => fixture.stop());
beforeEach(async () => {
  await watchSince(fixture, DAY);
  sweep = await startSweep(fixture);
});
afterEach(async () => {
  await sweep.sweeper.stop();
  expect(sweep.failures).toEqual([]);
});

/** An agent that has been heard once, so many seconds ago. */
async function heard(secondsAgo: number): Promise<AgentCaller> {
  agents += 1;
  const agent = await fixture.enroll(`agent-${agents}`);
  await fixture.beat(agent);
  await silence(fixture, agent, secondsAgo);
  return agent;
}

const states = (all: AgentCaller[]) => Promise.all(all.map((agent) => livenessOf(fixture, agent)));

describe("an agent that falls silent", () => {
  test("is stale, then offline; only the loss is audited, and told after it is true", async () => {
    const agent = await heard(61);
    await sweep.settled();
    expect(await livenessOf(fixture, agent)).toBe("stale");
    expect(await livenessLog(fixture, agent)).toEqual([
      ["never", "live", 1n, agent.actor, "first heartbeat"],
    ]);

    await silence(fixture, agent, 121);
    await sweep.settled();
    expect(await livenessOf(fixture, agent)).toBe("offline");
    expect((await livenessLog(fixture, agent)).slice(1)).toEqual([
      ["live", "offline", 3n, "server", expect.stringMatching(/^not heard for 1[2-9]\ds$/)],
    ]);
    expect(sweep.losses).toEqual([
      expect.objectContaining({ agent: agent.agentName, project: "default", from: "live", to: "offline" }),
    ]);
    const told = await fixture.database.sql<{ change: string }>`
      SELECT data ->> 'from' || '>' || (data ->> 'to') AS change FROM events
      WHERE agent_id = ${agent.agentId} AND type = 'agent.liveness_changed' ORDER BY id`;
    // Screens show a stale agent, so events tell of it.
    expect(told.map(({ change }) => change)).toEqual(["never>live", "live>stale", "stale>offline"]);
  });

  test("goes to offline at once where nobody looked between", async () => {
    const agent = await heard(600);
    await sweep.settled();
    expect(await livenessOf(fixture, agent)).toBe("offline");
    expect((await livenessLog(fixture, agent)).map(([from, to]) => [from, to])).toEqual([
      ["never", "live"],
      ["live", "offline"],
    ]);
  });

  test("keeps its status: error survives offline", async () => {
    const agent = await heard(0);
    await fixture.beat(agent, { error: { severity: "fatal", message: "gone", context: undefined } });
    await silence(fixture, agent, 121);
    await sweep.settled();
    const rows = await fixture.database.sql`
      SELECT status, liveness FROM agent_states WHERE agent_id = ${agent.agentId}`;
    expect(rows).toEqual([{ status: "error", liveness: "offline" }]);
  });

  test("is left alone within its time, and where it never was heard", async () => {
    const quiet = await Promise.all([0, 10, 20].map(heard));
    const late = await Promise.all([61, 70, 80].map(heard));
    const never = await fixture.enroll("never-heard");
    await sweep.settled();
    await sweep.settled();
    expect(await states(quiet)).toEqual(["live", "live", "live"]);
    expect(await states(late)).toEqual(["stale", "stale", "stale"]);
    expect(await livenessOf(fixture, never)).toBe("never");
    expect(sweep.losses).toEqual([]);
  });

  test("comes back by one heartbeat, with all its time anew, and may be lost again", async () => {
    const agent = await heard(121);
    const stale = await heard(90);
    await sweep.settled();
    await fixture.beat(agent);
    await fixture.beat(stale);
    expect(await states([agent, stale])).toEqual(["live", "live"]);
    await sweep.settled();
    expect(await states([agent, stale])).toEqual(["live", "live"]);
    await silence(fixture, agent, 121);
    await sweep.settled();
    const log = await livenessLog(fixture, agent);
    expect(log.map(([from, to]) => `${from} ${to}`)).toEqual([
      "never live",
      "live offline",
      "offline live",
      "live offline",
    ]);
    // 2 is the version of its first status.
    expect(log.map(([, , version]) => version)).toEqual([1n, 3n, 4n, 5n]);
    // A late heartbeat is no return.
    expect(await livenessLog(fixture, stale)).toHaveLength(1);
  });

  test("is judged by the database's clock, however wrong the server's is", async () => {
    for (const hours of [-1, 1]) {
      vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + hours * 3_600_000 });
      try {
        const agent = await heard(0);
        const gone = await heard(121);
        await sweep.settled();
        expect(await states([agent, gone])).toEqual(["live", "offline"]);
      } finally {
        vi.useRealTimers();
      }
    }
  });
});

describe("locks", () => {
  test("a row that a heartbeat holds is skipped, and judged by what the heartbeat wrote", async () => {
    const held = await heard(0);
    const connection = await fixture.database.reserve();
    try {
      await connection.db.execute("BEGIN");
      // The weakest lock keeps the sweep off and lets the time of the last heartbeat be set behind it: a sweep that
      // comes between a stronger lock and the silence would find the row free.
      await connection.db.execute(
        `SELECT 1 FROM agent_states WHERE agent_id = '${held.agentId}' FOR KEY SHARE`,
      );
      await silence(fixture, held, 121);
      const other = await heard(121);
      await sweep.settled();
      expect(await states([held, other])).toEqual(["live", "offline"]);
      await connection.db.execute(
        `UPDATE agent_states SET last_seen_at = clock_timestamp() WHERE agent_id = '${held.agentId}'`,
      );
      await connection.db.execute("COMMIT");
      await sweep.settled();
      expect(await livenessOf(fixture, held)).toBe("live");
    } finally {
      await connection.release();
    }
  });

  test("heartbeats of others do not wait for a sweep, and one of its own goes on from what it found", async () => {
    const other = await heard(0);
    const connection = await fixture.database.reserve();
    try {
      await connection.db.execute("BEGIN");
      // A sweep stands still before its audit entries; a heartbeat that changes nothing writes none.
      await connection.db.execute("LOCK TABLE audit_entries IN SHARE MODE");
      const gone = await fixture.enroll("gone-while-locked");
      await fixture.database.sql`
        UPDATE agent_states SET liveness = 'live', last_seen_at = clock_timestamp() - interval '121 s'
        WHERE agent_id = ${gone.agentId}`;
      await waitFor(
        async () => {
          const waiting = await fixture.database.sql`
            SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'audit_entries'::regclass`;
          return waiting.length > 0;
        },
        { what: "the sweep waiting for its audit log" },
      );
      await fixture.beat(other);
      const late = fixture.beat(gone);
      await connection.db.execute("COMMIT");
      await late;
      expect((await livenessLog(fixture, gone)).map(([from, to]) => [from, to])).toEqual([
        ["live", "offline"],
        ["offline", "live"],
      ]);
      expect(await livenessOf(fixture, gone)).toBe("live");
    } finally {
      await connection.release();
    }
  });
});

describe("while nobody watched", () => {
  test("silence counts for nothing: agents have all their time anew", async () => {
    await sweep.sweeper.stop();
    const agents = await Promise.all([10, 70, 130, 5_000].map(heard));
    await breakWatch(fixture, 4_000);
    sweep = await startSweep(fixture);
    await sweep.settled();
    expect(await states(agents)).toEqual(["live", "live", "live", "live"]);

    await watchSince(fixture, 61);
    await sweep.settled();
    await sweep.settled();
    expect(await states(agents)).toEqual(["live", "stale", "stale", "stale"]);
    await watchSince(fixture, 121);
    await sweep.settled();
    await sweep.settled();
    expect(await states(agents)).toEqual(["live", "stale", "offline", "offline"]);
  });

  test("a break that a running sweeper meets counts alike", async () => {
    await sweep.settled();
    const agent = await heard(0);
    const connection = await fixture.database.reserve();
    try {
      // One transaction, so that no round comes between the silence and the break.
      await connection.db.execute("BEGIN");
      await connection.db.execute("SELECT 1 FROM liveness_watch FOR UPDATE");
      await connection.db.execute("UPDATE liveness_watch SET kept_at = clock_timestamp() - interval '600 s'");
      await connection.db.execute(
        `UPDATE agent_states SET last_seen_at = clock_timestamp() - interval '601 s' WHERE agent_id = '${agent.agentId}'`,
      );
      await connection.db.execute("COMMIT");
    } finally {
      await connection.release();
    }
    await sweep.settled();
    expect(await livenessOf(fixture, agent)).toBe("live");
    expect(sweep.losses).toEqual([]);
  });

  test("leases last longer by the break", async () => {
    await sweep.sweeper.stop();
    const agent = await heard(300);
    const id = await fixture.add({ kind: "through-a-break" });
    await fixture.claim(agent, 1, ["through-a-break"]);
    await fixture.database.sql`
      UPDATE tasks SET lease_expires_at = clock_timestamp() - interval '4 minutes' WHERE id = ${id}`;
    await breakWatch(fixture, 290);
    sweep = await startSweep(fixture);
    await sweep.settled();
    const { task } = await fixture.show(id);
    expect(task.state).toBe("leased");
    expect(task.remainingMs).toBeGreaterThan(20_000);
    expect(task.remainingMs).toBeLessThan(60_000);
  });

  test("the first server of all blames nobody", async () => {
    await sweep.sweeper.stop();
    await fixture.database.sql`DELETE FROM liveness_watch`;
    const agent = await heard(5_000);
    sweep = await startSweep(fixture);
    await sweep.settled();
    expect(await livenessOf(fixture, agent)).toBe("live");
    const rows = await fixture.database.sql`
      SELECT since > clock_timestamp() - interval '1 minute' AS new FROM liveness_watch`;
    expect(rows).toEqual([{ new: true }]);
  });
});
