import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { backoffMs, decideTask, MAX_LOSSES, type TaskInput } from "../../src/tasks/decide-task.ts";
import type { Loan, Task } from "../../src/tasks/task.ts";

const backoff = { firstMs: 1_000, longestMs: 300_000 };
const fresh = (maxRetries: number): Task => ({
  state: "pending",
  maxRetries,
  retries: 0,
  losses: 0,
  leaseEpoch: 0n,
});

/** The task after a decision, as a store writes it. */
function apply(task: Task, input: TaskInput): { task: Task; refused: boolean } {
  const decision = decideTask(task, input, backoff);
  const { maxRetries, retries, losses, leaseEpoch } = task;
  const chances = { maxRetries, retries, losses, leaseEpoch };
  switch (decision.kind) {
    case "lend": {
      const { agentId } = decision.loan;
      return { task: { ...chances, ...decision.loan, state: "leased", agentId }, refused: false };
    }
    case "run":
      if (task.state !== "leased" && task.state !== "running") throw new Error("only a lent task can run");
      return { task: { ...chances, state: "running", agentId: task.agentId }, refused: false };
    case "retry":
      return { task: { ...chances, retries: 0, losses: 0, state: "pending" }, refused: false };
    case "hasten":
      return { task, refused: false };
    case "cancel":
      return { task: { ...chances, state: "cancelled" }, refused: false };
    case "end": {
      const { state, ...used } = decision.after;
      return { task: { ...chances, state, retries: used.retries, losses: used.losses }, refused: false };
    }
    case "refuse":
      return { task, refused: true };
  }
}

const agents = ["a", "b"];
const loan = fc.record({ agentId: fc.constantFrom(...agents), leaseEpoch: fc.bigInt(0n, 20n) });
const anyInput: fc.Arbitrary<TaskInput> = fc.oneof(
  fc.record({ kind: fc.constant("claim" as const), agentId: fc.constantFrom(...agents) }),
  fc.record({ kind: fc.constantFrom("accept" as const, "complete" as const), loan }),
  fc.record({ kind: fc.constant("fail" as const), loan, retryable: fc.boolean() }),
  fc.record({ kind: fc.constantFrom("cancel" as const, "agent-failed" as const, "timed-out" as const) }),
  fc.record({ kind: fc.constantFrom("lost" as const, "returned" as const, "set-aside" as const) }),
);

describe("the life of a task", () => {
  test("keeps its limits whatever happens, in any order", () => {
    fc.assert(
      fc.property(fc.nat(5), fc.array(anyInput, { maxLength: 120 }), (maxRetries, inputs) => {
        let task = fresh(maxRetries);
        let returns = 0;
        for (const input of inputs) {
          const before = task;
          const { task: next, refused } = apply(before, input);
          task = next;
          expect(task.leaseEpoch - before.leaseEpoch).toBe(input.kind === "claim" && !refused ? 1n : 0n);
          expect(task.retries).toBeLessThanOrEqual(maxRetries);
          expect(task.losses).toBeLessThanOrEqual(MAX_LOSSES + 1);
          expect(task.retries - before.retries + task.losses - before.losses).toBeLessThanOrEqual(1);
          if (input.kind === "returned" && !refused) returns += 1;
          // Every attempt but the first follows a retry, a loss or a return.
          expect(Number(task.leaseEpoch)).toBeLessThanOrEqual(1 + maxRetries + MAX_LOSSES + returns);
          if (["succeeded", "failed", "cancelled"].includes(before.state)) expect(task).toBe(before);
        }
      }),
    );
  });

  test("heeds a write under the loan in force alone", () => {
    fc.assert(
      fc.property(fc.array(anyInput, { maxLength: 60 }), (inputs) => {
        let task = fresh(3);
        let inForce: Loan | undefined;
        for (const input of inputs) {
          const { task: next, refused } = apply(task, input);
          if (input.kind === "accept" || input.kind === "complete" || input.kind === "fail") {
            const holds =
              inForce?.agentId === input.loan.agentId && inForce.leaseEpoch === input.loan.leaseEpoch;
            expect(refused).toBe(!holds);
          }
          task = next;
          const { leaseEpoch } = task;
          inForce =
            task.state === "leased" || task.state === "running"
              ? { agentId: task.agentId, leaseEpoch }
              : undefined;
        }
      }),
    );
  });

  test.each([
    ["complete", "succeeded"],
    ["cancel", "cancelled"],
    ["set-aside", "quarantined"],
  ] as const)("%s ends a lent task as %s", (kind, state) => {
    const lent = apply(fresh(3), { kind: "claim", agentId: "a" }).task;
    const input = kind === "complete" ? { kind, loan: { agentId: "a", leaseEpoch: 1n } } : { kind };
    expect(apply(lent, input).task.state).toBe(state);
  });

  test("forgives ten losses and not the eleventh, and burns no retry by them", () => {
    let task = fresh(0);
    for (let loss = 1; loss <= MAX_LOSSES; loss++) {
      task = apply(apply(task, { kind: "claim", agentId: "a" }).task, { kind: "lost" }).task;
      expect(task).toMatchObject({ state: "pending", losses: loss, retries: 0 });
    }
    task = apply(apply(task, { kind: "claim", agentId: "a" }).task, { kind: "lost" }).task;
    expect(task).toMatchObject({ state: "failed", losses: MAX_LOSSES + 1, retries: 0 });
  });

  test.each(["agent-failed", "timed-out"] as const)(
    "%s burns a retry, and the last one ends the task",
    (kind) => {
      const lent = (retries: number): Task => ({
        state: "running",
        agentId: "a",
        maxRetries: 2,
        retries,
        losses: 4,
        leaseEpoch: 9n,
      });
      expect(decideTask(lent(1), { kind }, backoff)).toMatchObject({
        after: { state: "pending", retries: 2, losses: 4, delayMs: 2_000 },
      });
      expect(decideTask(lent(2), { kind }, backoff)).toMatchObject({
        after: { state: "failed", retries: 2, losses: 4 },
      });
    },
  );

  test("a quarantined task can be given up, and an ended one cannot", () => {
    expect(apply({ ...fresh(3), state: "quarantined" }, { kind: "cancel" }).task.state).toBe("cancelled");
    expect(apply({ ...fresh(3), state: "failed" }, { kind: "cancel" }).refused).toBe(true);
  });
});

test("the wait doubles up to the longest, also after a thousand retries", () => {
  expect([0, 1, 2, 8, 9, 1_000].map((retries) => backoffMs(retries, backoff))).toEqual([
    1_000, 2_000, 4_000, 256_000, 300_000, 300_000,
  ]);
});
