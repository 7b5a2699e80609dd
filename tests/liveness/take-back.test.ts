import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { AgentCaller } from "../../src/identity/caller.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { refusalOf, startTaskFixture, type TaskFixture } from "../tasks/task-fixture.ts";
import { breakWatch, livenessOf, type Sweep, silence, startSweep, watchSince } from "./sweep-fixture.ts";

let fixture: TaskFixture;
let sweep: Sweep;
let agents = 0;
beforeAll(async () => {
  fixture = await startTaskFixture();
});
afterAll(() => fixture.stop());
beforeEach(async () => {
  await watchSince(fixture, 86_400);
  sweep = await startSweep(fixture);
});
afterEach(async () => {
  await sweep.sweeper.stop();
  expect(sweep.failures).toEqual([]);
});

interface Lent {
  agent: AgentCaller;
  id: string;
  kind: string;
}

async function lend({
  beats = true,
  timeoutMs,
}: {
  beats?: boolean;
  timeoutMs?: number;
} = {}): Promise<Lent> {
  agents += 1;
  const kind = `kind-${agents}`;
  const agent = await fixture.enroll(`agent-${agents}`);
  if (beats) await fixture.beat(agent);
  const id = await fixture.add({ kind, ...(timeoutMs !== undefined && { timeoutMs }) });
  await fixture.claim(agent, 1, [kind]);
  return { agent, id, kind };
}

const endLease = ({ id }: Lent) =>
  fixture.database
    .sql`UPDATE tasks SET lease_expires_at = clock_timestamp() - interval '1 second' WHERE id = ${id}`;
const taskOf = async ({ id }: Lent) => (await fixture.show(id)).task;
const renew = ({ agent, id }: Lent) =>
  fixture.beat(agent, {
    tasks: { currentTask: undefined, heldLeases: [{ taskId: `task_${id}`, leaseEpoch: 1n }] },
  });

test("a living agent's task comes back at the end of its lease, as a loss", async () => {
  const [live, never, kept] = [await lend(), await lend({ beats: false }), await lend()];
  await endLease(live);
  await endLease(never);
  await sweep.settled();
  expect(await taskOf(live)).toMatchObject({ state: "pending", losses: 1, retries: 0 });
  expect(await taskOf(never)).toMatchObject({ state: "pending", losses: 1, retries: 0 });
  expect(await taskOf(kept)).toMatchObject({ state: "leased" });
  expect(sweep.taskChanges.map((change) => change.taskId).sort()).toEqual([live.id, never.id].sort());
});

test("a stale agent keeps its task past the end of the lease, and may renew it", async () => {
  const lent = await lend();
  await silence(fixture, lent.agent, 90);
  await endLease(lent);
  await sweep.settled();
  expect(await livenessOf(fixture, lent.agent)).toBe("stale");
  expect(await taskOf(lent)).toMatchObject({ state: "leased", losses: 0 });
  const { leases } = await renew(lent);
  expect(leases).toEqual([expect.objectContaining({ remainingMs: 60_000 })]);
  await sweep.settled();
  expect(await taskOf(lent)).toMatchObject({ state: "leased", losses: 0 });
});

test("an offline agent's task comes back when the lease has ended too, as a loss", async () => {
  const [ended, running] = [await lend(), await lend()];
  for (const lent of [ended, running]) await silence(fixture, lent.agent, 121);
  await endLease(ended);
  await sweep.settled();
  expect(await livenessOf(fixture, running.agent)).toBe("offline");
  expect(await taskOf(ended)).toMatchObject({ state: "pending", losses: 1, retries: 0 });
  expect(await taskOf(running)).toMatchObject({ state: "leased", losses: 0 });

  await endLease(running);
  await sweep.settled();
  expect(await taskOf(running)).toMatchObject({ state: "pending", losses: 1, retries: 0 });
  const late = fixture.loans.update(running.agent, running.id, 1n, { progress: 0.5, detail: undefined });
  expect(await refusalOf(late)).toEqual({ kind: "failed-precondition", reason: "LEASE_LOST" });
});

test("more than one transaction's worth comes back all the same", async () => {
  const all: Awaited<ReturnType<typeof lend>>[] = [];
  for (let count = 0; count < 45; count += 1) all.push(await lend());
  await fixture.database.sql`
    UPDATE agent_states SET last_seen_at = clock_timestamp() - interval '1 hour'
    WHERE agent_id = ANY (${`{${all.map(({ agent }) => agent.agentId).join(",")}}`}::text::uuid[])`;
  await fixture.database.sql`
    UPDATE tasks SET lease_expires_at = clock_timestamp() - interval '1 s' WHERE state = 'leased'
      AND id = ANY (${`{${all.map(({ id }) => id).join(",")}}`}::text::uuid[])`;
  const areBack = async () => (await Promise.all(all.map(taskOf))).every(({ state }) => state === "pending");
  await waitFor(areBack, { what: "the return of all tasks" });
});

test("an attempt that runs too long is ended, but not for time in which nobody listened", async () => {
  await sweep.sweeper.stop();
  const lent = await lend({ timeoutMs: 60_000 });
  await fixture.database.sql`
    UPDATE tasks SET leased_at = clock_timestamp() - interval '61 s' WHERE id = ${lent.id}`;
  await breakWatch(fixture, 30);
  sweep = await startSweep(fixture);
  await sweep.settled();
  expect(await taskOf(lent)).toMatchObject({ state: "leased" });

  await watchSince(fixture, 61);
  await sweep.settled();
  await sweep.settled();
  expect(await taskOf(lent)).toMatchObject({ state: "pending", retries: 1, losses: 0 });
});

test("a drain lasts longer by the time in which nobody listened", async () => {
  await sweep.sweeper.stop();
  const lent = await lend();
  await fixture.database.sql`
    UPDATE agent_states SET cordon = 'draining', drain_deadline_at = clock_timestamp() - interval '1 second'
    WHERE agent_id = ${lent.agent.agentId}`;
  await breakWatch(fixture, 30);
  sweep = await startSweep(fixture);
  await sweep.settled();
  expect(await taskOf(lent)).toMatchObject({ state: "leased" });
  await fixture.database.sql`
    UPDATE agent_states SET drain_deadline_at = clock_timestamp() - interval '1 second'
    WHERE agent_id = ${lent.agent.agentId}`;
  await sweep.settled();
  expect(await taskOf(lent)).toMatchObject({ state: "pending", losses: 0, retries: 0 });
});
