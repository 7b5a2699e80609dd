import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { AgentCaller } from "../../src/identity/caller.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { forever, pack, refusalOf, startTaskFixture, type TaskFixture } from "./task-fixture.ts";

let fixture: TaskFixture;
beforeEach(async () => {
  fixture = await startTaskFixture({ backoff: { firstMs: 30, longestMs: 30 } });
});
afterEach(() => fixture.stop());

const wait = (agent: AgentCaller, kinds: string[] = [], waitMs = 20_000, signal = forever) =>
  fixture.claims.claim(agent, { kinds, max: 1, waitMs }, signal);

/** Resolves when nobody is in the middle of a look: each claim has found nothing and waits. */
async function settled() {
  const idle = async () => {
    const [row] = await fixture.database.sql<{ busy: bigint }>`
      SELECT count(*) AS busy FROM pg_stat_activity
      WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()`;
    return row?.busy === 0n;
  };
  await waitFor(async () => (await idle()) && (await idle()));
}

const addElsewhere = (kind: string, count: number) =>
  fixture.database.sql`
    INSERT INTO tasks (project_id, id, kind, priority, max_retries)
    SELECT ${fixture.projectId}::uuid, gen_random_uuid(), ${kind}::text, 5, 0 FROM generate_series(1, ${count}::int)`;

describe("a claim that waits", () => {
  test("gets a task as soon as one is created", async () => {
    const agent = await fixture.enroll("a");
    const claim = wait(agent, ["hash"]);
    await settled();
    await fixture.add({ kind: "other" });
    const id = await fixture.add({ kind: "hash" });
    expect((await claim).map((task) => task.id)).toEqual([id]);
  });

  test("gets a failed task when its wait is over", async () => {
    const agent = await fixture.enroll("a");
    const id = await fixture.add({ maxRetries: 1 });
    await fixture.claim(agent);
    const claim = wait(agent);
    await settled();
    await fixture.loans.fail(agent, id, 1n, {
      error: { message: "x", context: undefined },
      retryable: true,
    });
    expect((await claim).map(({ leaseEpoch }) => leaseEpoch)).toEqual([2n]);
  });

  test("finds what another server created, by asking the database now and then", async () => {
    const agent = await fixture.enroll("a");
    const claims = [wait(agent, ["hash"]), wait(agent)];
    await settled();
    await addElsewhere("hash", 2);
    const found = (await Promise.all(claims)).flat();
    expect(new Set(found.map(({ id }) => id)).size).toBe(2);
  });

  test("shares a burst with the others: one wakes the next", async () => {
    const agents = await Promise.all(Array.from({ length: 12 }, (_, n) => fixture.enroll(`a-${n}`)));
    const claims = agents.map((agent) => wait(agent, ["burst"]));
    await settled();
    await addElsewhere("burst", 12);
    const found = (await Promise.all(claims)).flat().map(({ id }) => id);
    expect(new Set(found).size).toBe(12);
  });

  test("ends without a task when its time is over", async () => {
    const agent = await fixture.enroll("a");
    expect(await wait(agent, [], 40)).toEqual([]);
  });

  test("ends with its caller, and leaves its wake-up to the next one", async () => {
    const [first, second] = [await fixture.enroll("a"), await fixture.enroll("b")];
    const gone = new AbortController();
    const left = wait(first, [], 20_000, gone.signal);
    const stays = wait(second);
    await settled();
    gone.abort(new Error("the caller went away"));
    await expect(left).rejects.toThrow("went away");
    const id = await fixture.add({ payload: pack(1) });
    expect((await stays).map((task) => task.id)).toEqual([id]);
    expect((await fixture.show(id)).task.agentName).toBe("b");
  });

  test("of an agent that fell into error meanwhile gets nothing", async () => {
    const agent = await fixture.enroll("a");
    const refused = refusalOf(wait(agent));
    await settled();
    await fixture.beat(agent, { status: "error" });
    const id = await fixture.add();
    expect(await refused).toEqual({ kind: "failed-precondition", reason: "AGENT_IN_ERROR" });
    expect((await fixture.show(id)).task.state).toBe("pending");
  });

  test("ends when the server stops, and a later one does not begin to wait", async () => {
    const agent = await fixture.enroll("a");
    const claim = wait(agent);
    await settled();
    await fixture.waiting.stop();
    expect(await claim).toEqual([]);
    expect(await wait(agent)).toEqual([]);
  });
});
