import { expect, test } from "vitest";
import { RunningCount } from "../../src/quotas/running-count.ts";

function counting() {
  const clock = { ms: 0 };
  return { clock, count: new RunningCount(() => clock.ms) };
}

test("what is added comes on top of what was counted, also while it is counted", async () => {
  const { count } = counting();
  count.add("a", 5);
  expect([count.isDue, count.get("a")]).toEqual([true, 5]);
  await count.count(async () => {
    count.add("a", 2);
    expect([count.isDue, count.mayCount]).toEqual([false, false]);
    return new Map([["a", 10]]);
  });
  expect([count.get("a"), count.get("b")]).toEqual([12, 0]);
});

test("it is due after a minute, may be counted after a second, and later where counting takes long", async () => {
  const { clock, count } = counting();
  await count.count(async () => new Map());
  expect([count.isDue, count.mayCount, count.restMs]).toEqual([false, false, 1_000]);
  clock.ms = 1_000;
  expect([count.isDue, count.mayCount]).toEqual([false, true]);
  clock.ms = 60_000;
  expect(count.isDue).toBe(true);
  await count.count(async () => {
    clock.ms += 4_000;
    return new Map();
  });
  expect(count.restMs).toBe(200_000);
  // Refusals tell it in whole milliseconds.
  clock.ms += 0.5;
  expect(count.restMs).toBe(200_000);
  clock.ms += 100_000;
  expect(count.isDue).toBe(false);
});

test("after a count that failed, the one before goes on, with all that was added", async () => {
  const { clock, count } = counting();
  await count.count(async () => new Map([["a", 1]]));
  count.add("a", 1);
  const failing = count.count(async () => {
    count.add("a", 1);
    throw new Error("no database");
  });
  await expect(failing).rejects.toThrow("no database");
  expect([count.get("a"), count.mayCount]).toEqual([3, false]);
  clock.ms = 1_000;
  expect(count.mayCount).toBe(true);
});
