import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { AgentCaller } from "../../src/identity/caller.ts";
import { inTransaction } from "../../src/storage/database.ts";
import { giveBackTasks, returnExpiredLeases, timeOutAttempts } from "../../src/tasks/give-back.ts";
import { cancelTask, retryTask } from "../../src/tasks/task-service.ts";
import * as model from "./life-model.ts";
import { pack, refusalOf, startTaskFixture, type TaskFixture } from "./task-fixture.ts";

const MAX_RETRIES = 5;
const AGENTS = 3;
const TASKS = 1;
const backoff = { firstMs: 1, longestMs: 1 };
const settings = { backoff, report: () => {} };
const wish = { reason: "", requestId: "" };
const spared = { projectIds: [], silentForMs: 0 };

let fixture: TaskFixture;
let agents: AgentCaller[];
let runs = 0;

beforeAll(async () => {
  fixture = await startTaskFixture({ backoff });
  agents = await Promise.all(Array.from({ length: AGENTS }, (_, n) => fixture.enroll(`agent-${n}`)));
});
afterAll(() => fixture.stop());

const agent = fc.nat(AGENTS - 1);
const task = fc.nat(TASKS - 1);
/** How many epochs back a write comes from. What would end the task for good comes late, mostly. */
const seldomLate = fc.constantFrom(0, 0, 0, 1, 2);
const mostlyLate = fc.constantFrom(0, 1, 1, 1, 2, 2, 3);
const write = (late: fc.Arbitrary<number>, ...kinds: ("update" | "complete" | "fail" | "fail-for-good")[]) =>
  fc.record({
    kind: fc.constantFrom(...kinds),
    task,
    late,
    /** Undefined: the one that made the attempt. */
    by: fc.option(agent, { nil: undefined, freq: 4 }),
  });
const step = fc.oneof(
  { weight: 10, arbitrary: fc.record({ kind: fc.constant("claim" as const), agent }) },
  { weight: 6, arbitrary: write(seldomLate, "update") },
  { weight: 4, arbitrary: write(mostlyLate, "fail", "complete", "complete", "fail-for-good") },
  {
    weight: 6,
    /** What befalls the agent that holds the task. */
    arbitrary: fc.record({ kind: fc.constantFrom("lost", "fatal", "returned"), holderOf: task }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom("lease-ends", "times-out", "retry", "retry", "cancel"),
      task,
    }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** One project's tasks, in the database and in the model. */
class Life {
  readonly kind = `life-${++runs}`;
  readonly models = Array.from({ length: TASKS }, model.newModelTask);
  ids: string[] = [];

  async start(): Promise<void> {
    for (let n = 0; n < TASKS; n++)
      this.ids.push(await fixture.add({ kind: this.kind, maxRetries: MAX_RETRIES, timeoutMs: 60_000 }));
  }

  async take(each: Step): Promise<void> {
    const { database } = fixture;
    if (each.kind === "claim") {
      await database.sql`UPDATE tasks SET due_at = created_at WHERE kind = ${this.kind} AND state = 'pending'`;
      const caller = this.#caller(each.agent);
      const [claimed] = await fixture.claim(caller, 1, [this.kind]);
      const expected = this.models.findIndex(({ state }) => state === "pending");
      expect(claimed?.id).toBe(this.ids[expected]);
      const lent = this.models[expected];
      if (lent !== undefined) {
        model.lend(lent, each.agent);
        expect(claimed).toMatchObject({ attempt: lent.epoch, leaseEpoch: BigInt(lent.epoch) });
      }
    } else if ("late" in each) await this.#write(each);
    else if ("holderOf" in each) await this.#endAll(each.kind, this.#at(each.holderOf)[1].holder ?? 0);
    else await this.#touch(each.kind, each.task);
    await this.check();
  }

  async #write({ kind, task: place, late: back, by: named }: Extract<Step, { late: number }>): Promise<void> {
    const [id, known] = this.#at(place);
    const epoch = known.epoch - back;
    if (epoch < 1) return;
    const by = named ?? known.attempts[epoch - 1]?.agent ?? 0;
    const key = [this.#caller(by), id, BigInt(epoch)] as const;
    const error = { message: "no", context: undefined };
    const call = {
      update: () => fixture.loans.update(...key, { progress: 0.5 }),
      complete: () => fixture.loans.complete(...key, pack(epoch)),
      fail: () => fixture.loans.fail(...key, { error, retryable: true }),
      "fail-for-good": () => fixture.loans.fail(...key, { error, retryable: false }),
    }[kind as "update"];
    if (model.holds(known, by, epoch)) {
      await call();
      if (kind === "update") model.begin(known);
      else if (kind === "complete") model.finish(known, "succeeded", "succeeded");
      else if (kind === "fail") model.failOver(known, "failed", MAX_RETRIES);
      else model.finish(known, "failed", "failed");
      return;
    }
    const attempt = known.attempts[epoch - 1];
    const outcome = attempt?.agent === by ? attempt.outcome : undefined;
    // A repeat of what was said before is answered, and changes nothing.
    if (kind !== "update" && outcome === (kind === "complete" ? "succeeded" : "failed")) await call();
    else {
      const refusal = await refusalOf(call());
      expect([refusal.reason ?? refusal.kind]).toEqual([model.refusalFor(known, by)]);
    }
  }

  async #endAll(kind: string, by: number): Promise<void> {
    const caller = this.#caller(by);
    if (kind === "fatal") {
      await fixture.beat(caller, { error: { severity: "fatal", message: "gone", context: undefined } });
      await fixture.beat(caller);
    } else {
      const reason = { kind: kind === "lost" ? "lost" : "returned", message: "gone" } as const;
      const whole = { ...reason, origin: { actor: "server" }, endedLeasesOnly: false };
      await inTransaction(fixture.database.db, (tx) => giveBackTasks(tx, [caller], whole, settings));
    }
    for (const known of this.models) {
      if (!model.isLent(known) || known.holder !== by) continue;
      const ran = known.state === "running";
      if (kind === "returned") model.finish(known, "returned", "pending");
      else if (kind === "lost") model.lose(known);
      else model.failOver(known, "agent_failed", MAX_RETRIES);
      if (kind !== "returned") model.fell(known, ran);
    }
  }

  async #touch(kind: string, place: number): Promise<void> {
    const [id, known] = this.#at(place);
    const { db, sql } = fixture.database;
    const operator = fixture.operator;
    if (kind === "lease-ends") {
      await sql`UPDATE tasks SET lease_expires_at = now() - interval '1 s' WHERE id = ${id} AND lease_expires_at IS NOT NULL`;
      await inTransaction(db, (tx) => returnExpiredLeases(tx, 100, spared, settings));
      if (model.isLent(known)) model.lose(known);
    } else if (kind === "times-out") {
      await sql`
        UPDATE tasks SET leased_at = now() - interval '1 hour', started_at = started_at - interval '1 hour'
        WHERE id = ${id} AND state IN ('leased', 'running')`;
      await inTransaction(db, (tx) => timeOutAttempts(tx, 100, spared, settings));
      if (model.isLent(known)) model.failOver(known, "timed_out", MAX_RETRIES);
    } else if (kind === "cancel") {
      const call = inTransaction(db, (tx) => cancelTask(tx, operator, id, wish, fixture.rules));
      if (known.state === "succeeded" || known.state === "failed")
        expect((await refusalOf(call)).reason).toBe("TASK_ENDED");
      else {
        await call;
        if (model.isLent(known)) model.finish(known, "cancelled", "cancelled");
        else known.state = "cancelled";
      }
    } else {
      const call = inTransaction(db, (tx) => retryTask(tx, operator, id, wish, fixture.rules));
      if (known.state === "succeeded" || model.isLent(known)) await refusalOf(call);
      else {
        await call;
        if (known.state !== "pending") model.retry(known);
      }
    }
  }

  /** The database holds what the model says: states, epochs, counts, and every attempt with its one end. */
  async check(): Promise<void> {
    for (const [place, known] of this.models.entries()) {
      const [row] = await fixture.database.sql`
        SELECT state, lease_epoch, retries, losses FROM tasks WHERE id = ${this.ids[place]}`;
      const { state, epoch, retries, losses } = known;
      expect(row).toEqual({ state, lease_epoch: BigInt(epoch), retries, losses });
      const attempts = await fixture.database.sql`
        SELECT agent_id, outcome FROM task_attempts WHERE task_id = ${this.ids[place]} ORDER BY lease_epoch`;
      expect(attempts).toEqual(
        known.attempts.map((attempt) => ({
          agent_id: this.#caller(attempt.agent).agentId,
          outcome: attempt.outcome ?? null,
        })),
      );
    }
  }

  #at(place: number): [string, model.ModelTask] {
    const [id, known] = [this.ids[place], this.models[place]];
    if (id === undefined || known === undefined) throw new Error("no such task in the model");
    return [id, known];
  }

  #caller(place: number): AgentCaller {
    const caller = agents[place];
    if (caller === undefined) throw new Error("no such agent in the model");
    return caller;
  }
}

test("whatever happens to tasks in whatever order, they are what the model says", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 40, maxLength: 120, size: "max" }), async (steps) => {
      const life = new Life();
      await life.start();
      for (const each of steps) await life.take(each);
      await fixture.database.sql`DELETE FROM tasks WHERE kind = ${life.kind}`;
      // The model knows of no agents that are to blame: the next life is one more task to these.
      await fixture.database.sql`DELETE FROM agent_failures`;
    }),
    { numRuns: 12, endOnFailure: true },
  );
}, 120_000);

test("of everything at once at most one thing counts", async () => {
  const [id, kind] = [await fixture.add({ kind: "at-once", maxRetries: 1_000 }), "at-once"];
  const told = { completed: 0, cancelled: 0 };
  const act = async (place: number) => {
    const caller = agents[place % AGENTS];
    if (caller === undefined) throw new Error("no such agent");
    for (let round = 0; round < 15 && told.completed === 0; round++) {
      await fixture.database.sql`UPDATE tasks SET due_at = created_at WHERE id = ${id} AND state = 'pending'`;
      const [lent] = await fixture.claim(caller, 1, [kind]);
      const { task: seen } = await fixture.show(id);
      // Also under the epochs of others.
      const epoch = lent?.leaseEpoch ?? seen.leaseEpoch;
      if (epoch === 0n) continue;
      const error = { message: "again", context: undefined };
      await Promise.allSettled([
        fixture.loans.update(caller, id, epoch, { progress: 0.1 }),
        round > 10
          ? fixture.loans.complete(caller, id, epoch, pack(Number(epoch))).then(() => (told.completed += 1))
          : fixture.loans.fail(caller, id, epoch, { error, retryable: true }),
      ]);
    }
  };
  await Promise.all(Array.from({ length: 2 * AGENTS }, (_, place) => act(place)));
  const attempts = await fixture.database.sql<{ lease_epoch: bigint; outcome: string | null }>`
    SELECT lease_epoch, outcome FROM task_attempts WHERE task_id = ${id} ORDER BY lease_epoch`;
  const { task: last } = await fixture.show(id);
  expect(attempts.map(({ lease_epoch }) => lease_epoch)).toEqual(attempts.map((_, n) => BigInt(n + 1)));
  expect(last.leaseEpoch).toBe(BigInt(attempts.length));
  expect(attempts.filter(({ outcome }) => outcome === null)).toHaveLength(
    last.state === "pending" || last.state === "succeeded" ? 0 : 1,
  );
  expect(attempts.filter(({ outcome }) => outcome === "succeeded")).toHaveLength(
    last.state === "succeeded" ? 1 : 0,
  );
  if (last.state === "succeeded") expect(last.result).toBe(String(attempts.length));
  expect(last.retries).toBe(attempts.filter(({ outcome }) => outcome === "failed").length);
});
