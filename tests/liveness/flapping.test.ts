import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { requireAgent } from "../../src/agents/agent-service.ts";
import { afterLoss, afterTime, type FlapRecord } from "../../src/liveness/decide-flapping.ts";
import { startTaskFixture, type TaskFixture } from "../tasks/task-fixture.ts";
import { livenessLog, livenessOf, silence, startSweep, watchSince } from "./sweep-fixture.ts";

const MINUTE = 60_000;

function lostAt(...minutes: number[]): FlapRecord {
  const record = minutes.reduce<FlapRecord | undefined>(
    (before, minute) => afterLoss(before, minute * MINUTE),
    undefined,
  );
  if (record === undefined) throw new Error("there was a loss");
  return record;
}

describe("an agent flaps", () => {
  test("when it is lost three times within minutes, not when it is lost now and then", () => {
    expect(lostAt(0, 4).flapping).toBe(false);
    expect(lostAt(0, 4, 8).flapping).toBe(true);
    expect(lostAt(0, 30, 60, 90, 120, 150).flapping).toBe(false);
  });

  test("until it was not lost for half an hour, and then is forgotten", () => {
    const record = lostAt(0, 2, 4);
    expect(afterTime(record, 20 * MINUTE)).toBe("keep");
    expect(afterTime(record, 40 * MINUTE)).toBe("rest");
    expect(afterTime({ ...record, flapping: false }, 40 * MINUTE)).toBe("keep");
    expect(afterTime({ ...record, flapping: false }, 120 * MINUTE)).toBe("forget");
  });

  test("whatever happens, it begins and ends at limits that are far apart", () => {
    const gaps = fc.array(fc.integer({ min: 0, max: 60 }), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(gaps, (minutes) => {
        let [record, now]: [FlapRecord | undefined, number] = [undefined, 0];
        for (const gap of minutes) {
          now += gap * MINUTE;
          const before: FlapRecord | undefined = record;
          record = afterLoss(before, now);
          if (record.flapping && before?.flapping !== true) expect(record.score).toBeGreaterThanOrEqual(2.5);
          if (record.flapping) expect(afterTime(record, now)).toBe("keep");
        }
      }),
    );
  });
});

describe("in the database", () => {
  let fixture: TaskFixture;
  beforeAll(async () => {
    fixture = await startTaskFixture();
    await watchSince(fixture, 86_400);
  });
  afterAll(() => fixture.stop());

  test("it is shown on the agent and told by events, and changes nothing of the audit log", async () => {
    const sweep = await startSweep(fixture);
    const agent = await fixture.enroll("shaky");
    const shown = async () => (await requireAgent(fixture.database.db, fixture.projectId, "shaky")).flapping;
    for (let loss = 1; loss <= 3; loss += 1) {
      await fixture.beat(agent);
      expect(await shown()).toBe(false);
      await silence(fixture, agent, 300);
      await sweep.settled();
      expect(await livenessOf(fixture, agent)).toBe("offline");
    }
    expect(await shown()).toBe(true);
    await fixture.beat(agent);
    expect(await shown()).toBe(true);
    await fixture.database.sql`UPDATE agent_flaps SET scored_at = scored_at - interval '1 hour'`;
    await sweep.settled();
    expect(await shown()).toBe(false);
    const events = await fixture.database
      .sql`SELECT type FROM events WHERE type LIKE 'agent.flapping%' ORDER BY id`;
    expect(events.map(({ type }) => type)).toEqual(["agent.flapping_started", "agent.flapping_ended"]);
    expect((await livenessLog(fixture, agent)).map(([from, to]) => `${from} ${to}`)).toEqual([
      "never live",
      "live offline",
      "offline live",
      "live offline",
      "offline live",
      "live offline",
      "offline live",
    ]);
    await fixture.database.sql`UPDATE agent_flaps SET scored_at = scored_at - interval '2 hours'`;
    await sweep.settled();
    expect(await fixture.database.sql`SELECT 1 FROM agent_flaps`).toEqual([]);
    await sweep.sweeper.stop();
    expect(sweep.failures).toEqual([]);
  });
});
