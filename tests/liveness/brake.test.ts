import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { AgentCaller } from "../../src/identity/caller.ts";
import type { BrakeSettings } from "../../src/liveness/decide-brake.ts";
import { leave } from "../../src/liveness/leave-service.ts";
import { inTransaction } from "../../src/storage/database.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { startTaskFixture, type TaskFixture } from "../tasks/task-fixture.ts";
import { livenessOf, type Sweep, silence, startSweep, watchSince } from "./sweep-fixture.ts";

/** An agent in seventeen minutes: within a test none but what the test makes true. */
const brake: BrakeSettings = { fraction: 0.55, minAgents: 5, agentsPerSecond: 0.001 };
const OFFLINE_S = 121;
const STALE_S = 61;

let fixture: TaskFixture;
let sweep: Sweep;
beforeEach(async () => {
  fixture = await startTaskFixture();
  await watchSince(fixture, 86_400);
});
afterEach(async () => {
  await sweep.sweeper.stop();
  expect(sweep.failures).toEqual([]);
  await fixture.stop();
});

async function sweepOnce(): Promise<void> {
  sweep = await startSweep(fixture, fixture.database, brake);
  await sweep.settled();
}

/** Agents that were heard and hold a task each, whose lease has ended. */
async function fleetOf(size: number): Promise<AgentCaller[]> {
  return await Promise.all(
    Array.from({ length: size }, async (_, number) => {
      const agent = await fixture.enroll(`agent-${number}`);
      await fixture.beat(agent);
      await fixture.add({ kind: agent.agentName });
      await fixture.claim(agent, 1, [agent.agentName]);
      return agent;
    }),
  );
}

async function silenceAll(agents: AgentCaller[], seconds: number): Promise<void> {
  await Promise.all(
    agents.map(async (agent) => {
      await silence(fixture, agent, seconds);
      await fixture.database.sql`
        UPDATE tasks SET lease_expires_at = clock_timestamp() - interval '1 second' WHERE agent_id = ${agent.agentId}`;
    }),
  );
}

/** How many tasks are lent. */
async function held(): Promise<number> {
  const rows = await fixture.database.sql`SELECT 1 FROM tasks WHERE state IN ('leased', 'running')`;
  return rows.length;
}

async function kindOfBrake(): Promise<string | undefined> {
  const [row] = await fixture.database.sql<{ kind: string }>`SELECT kind FROM liveness_brakes`;
  return row?.kind;
}

/** Makes it true that a step of the allowance has passed. */
const earnOne = () =>
  fixture.database.sql`UPDATE liveness_brakes SET earned_from = earned_from - interval '1000 seconds'`;

const strengths = () => sweep.brakes.map(({ from, to }) => `${from} ${to}`);

describe("when most agents vanish at once", () => {
  test("their tasks go back one agent after the other, the agents being offline as they are", async () => {
    const agents = await fleetOf(10);
    await silenceAll(agents.slice(0, 6), OFFLINE_S);
    await sweepOnce();
    expect(await Promise.all(agents.slice(0, 6).map((agent) => livenessOf(fixture, agent)))).toEqual(
      Array(6).fill("offline"),
    );
    expect(await held()).toBe(10);
    expect(sweep.brakes).toEqual([{ project: "default", from: "off", to: "slow", counted: 10, gone: 6 }]);
    await earnOne();
    await sweep.settled();
    expect(await held()).toBe(9);
    await sweep.settled();
    expect(await held()).toBe(9);
  });

  test("whoever sweeps next goes on with the same allowance", async () => {
    const agents = await fleetOf(5);
    await silenceAll(agents.slice(0, 3), OFFLINE_S);
    await sweepOnce();
    await earnOne();
    await sweep.settled();
    await sweep.sweeper.stop();
    await sweepOnce();
    expect(await held()).toBe(4);
    expect(sweep.brakes).toEqual([]);
    await earnOne();
    await sweep.settled();
    expect(await held()).toBe(3);
  });

  test("nothing is taken from the first to be called offline while the others are about to be", async () => {
    const agents = await fleetOf(10);
    await silenceAll(agents.slice(0, 1), OFFLINE_S);
    await silenceAll(agents.slice(1, 6), STALE_S);
    await sweepOnce();
    expect(await held()).toBe(10);
    expect(strengths()).toEqual(["off slow"]);
  });

  test("it is told by an event, and so is its end, after which all go back", async () => {
    const agents = await fleetOf(5);
    await silenceAll(agents.slice(0, 3), OFFLINE_S);
    await sweepOnce();
    const [first] = agents;
    if (first === undefined) throw new Error("there are five");
    await fixture.beat(first, {
      tasks: { currentTask: undefined, heldLeases: [await leaseOf(first)] },
    });
    await sweep.settled();
    expect(await held()).toBe(3);
    expect(await kindOfBrake()).toBeUndefined();
    const events = await fixture.database.sql`
      SELECT type, subject, data::text AS data FROM events WHERE type LIKE 'liveness.%' ORDER BY id`;
    const subject = `project_${fixture.projectId}`;
    expect(events.map((event) => ({ ...event, data: JSON.parse(String(event.data)) }))).toEqual([
      { type: "liveness.brake_engaged", subject, data: { from: "off", to: "slow", counted: 5, gone: 3 } },
      { type: "liveness.brake_released", subject, data: { from: "slow", to: "off", counted: 5, gone: 2 } },
    ]);
  });

  test("those that vanished with it count for as long as it lasts, or the rest would go in one burst", async () => {
    const agents = await fleetOf(10);
    await silenceAll(agents.slice(0, 6), OFFLINE_S);
    await sweepOnce();
    await earnOne();
    await sweep.settled();
    // An hour later one of them, whose task is gone, is of those lost long ago; the brake is as old.
    await sweep.sweeper.stop();
    await fixture.database.sql`
      UPDATE agent_states SET lost_at = lost_at - interval '1 hour', last_seen_at = last_seen_at - interval '1 hour'
      WHERE liveness = 'offline'`;
    await fixture.database.sql`
      UPDATE liveness_brakes SET engaged_at = engaged_at - interval '1 hour', earned_from = clock_timestamp()`;
    await sweepOnce();
    expect(await held()).toBe(9);
    expect(await kindOfBrake()).toBe("slow");
  });

  test("an attempt that takes too long is not blamed either", async () => {
    const agents = await fleetOf(5);
    await fixture.database
      .sql`UPDATE tasks SET timeout_ms = 1000, leased_at = leased_at - interval '1 minute'`;
    await silenceAll(agents.slice(0, 3), OFFLINE_S);
    await sweepOnce();
    // The first round takes from the living before it calls anybody offline.
    await waitFor(async () => {
      const lost = await Promise.all(agents.slice(0, 3).map((agent) => livenessOf(fixture, agent)));
      return lost.every((liveness) => liveness === "offline");
    });
    await sweep.settled();
    const rows = await fixture.database.sql`
      SELECT 1 FROM tasks WHERE state = 'leased' AND agent_id IN
        (SELECT agent_id FROM agent_states WHERE liveness = 'offline')`;
    expect(rows).toHaveLength(3);
  });
});

describe("when all agents vanish", () => {
  test("no task goes back, and a return gives everybody else the time to return", async () => {
    const agents = await fleetOf(5);
    await silenceAll(agents, OFFLINE_S);
    await sweepOnce();
    await earnOne();
    await sweep.settled();
    expect(await held()).toBe(5);
    expect(await kindOfBrake()).toBe("stopped");
    expect(strengths()).toEqual(["off stopped"]);

    const [first] = agents;
    if (first === undefined) throw new Error("there are five");
    await fixture.beat(first);
    await sweep.settled();
    await earnOne();
    await sweep.settled();
    // Its own as well: it may be about to say that it holds it.
    expect(await held()).toBe(5);
    const rows = await fixture.database.sql<{ s: number }>`
      SELECT extract(epoch FROM lease_expires_at - clock_timestamp())::float8 AS s FROM tasks`;
    for (const { s } of rows) expect(s).toBeGreaterThan(60);
    expect(strengths()).toEqual(["off stopped", "stopped slow"]);
  });

  test("nor while the last of them are only silent yet", async () => {
    const agents = await fleetOf(5);
    await silenceAll(agents.slice(0, 3), OFFLINE_S);
    await silenceAll(agents.slice(3), STALE_S);
    await sweepOnce();
    expect(await kindOfBrake()).toBe("waiting");
    await earnOne();
    await sweep.settled();
    expect(await held()).toBe(5);
    expect(strengths()).toEqual(["off stopped"]);
  });
});

describe("nothing brakes", () => {
  test("where the project has fewer agents", async () => {
    const agents = await fleetOf(4);
    await silenceAll(agents, OFFLINE_S);
    await sweepOnce();
    expect(await held()).toBe(0);
    expect(sweep.brakes).toEqual([]);
  });

  test("where the agents are gone that left, or that were lost long ago and hold nothing", async () => {
    const agents = await fleetOf(8);
    for (const agent of agents.slice(0, 3))
      await inTransaction(fixture.database.db, (tx) => leave(tx, agent, "", fixture.held));
    await fixture.database
      .sql`UPDATE tasks SET state = 'succeeded', lease_expires_at = NULL WHERE state = 'pending'`;
    const [, , , old, lost] = agents;
    if (old === undefined || lost === undefined) throw new Error("there are eight");
    await fixture.database.sql`
      UPDATE tasks SET state = 'succeeded', lease_expires_at = NULL WHERE agent_id = ${old.agentId}`;
    await fixture.database.sql`
      UPDATE agent_states SET liveness = 'offline', last_seen_at = clock_timestamp() - interval '12 minutes',
        lost_at = clock_timestamp() - interval '11 minutes' WHERE agent_id = ${old.agentId}`;
    // Five count: this one and three that live.
    await silenceAll([lost], OFFLINE_S);
    await sweepOnce();
    expect(await held()).toBe(3);
    expect(sweep.brakes).toEqual([]);
  });
});

async function leaseOf(agent: AgentCaller) {
  const [row] = await fixture.database.sql<{ id: string; lease_epoch: bigint }>`
    SELECT id, lease_epoch FROM tasks WHERE agent_id = ${agent.agentId}`;
  return { taskId: `task_${row?.id}`, leaseEpoch: row?.lease_epoch ?? 0n };
}
