import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decidePace, longestOf, nextBeatMs } from "../../src/heartbeat/decide-pace.ts";

const defaults = { baseMs: 15_000, mostPerSecond: 2_000 };
const rules = fc.record({
  baseMs: fc.integer({ min: 1_000, max: 3_600_000 }),
  mostPerSecond: fc.integer({ min: 1, max: 1_000_000 }),
});
const agents = fc.integer({ min: 0, max: 10_000_000 });
const lastSecond = fc.integer({ min: 0, max: 100_000 });
const draw = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });

describe("the pace of a fleet", () => {
  test("is the usual one, to the millisecond, while few agents come", () => {
    expect(decidePace(defaults, 0, 0)).toEqual({ intervalMs: 15_000, spreadMs: 0 });
    expect(decidePace(defaults, 1_000, 67)).toEqual({ intervalMs: 15_000, spreadMs: 0 });
  });

  test("grows with a fleet that would come too often", () => {
    expect(decidePace(defaults, 30_001, 0).intervalMs).toBe(15_001);
    expect(decidePace(defaults, 100_000, 0)).toEqual({ intervalMs: 50_000, spreadMs: 5_000 });
  });

  test("is spread wider the more come at once", () => {
    const spreads = [0, 99, 100, 1_000, 2_000, 50_000].map(
      (many) => decidePace(defaults, 1_000, many).spreadMs,
    );
    expect(spreads).toEqual([0, 0, 1613, 2625, 3750, 3750]);
  });

  test("stays under the bound on average, is never shorter than the usual one, and never longer than announced", () => {
    fc.assert(
      fc.property(rules, agents, lastSecond, draw, (some, count, many, drawn) => {
        const pace = decidePace(some, count, many);
        const nextMs = nextBeatMs(pace, drawn);
        expect(nextMs).toBeGreaterThanOrEqual(some.baseMs);
        expect(nextMs).toBeLessThanOrEqual(longestOf(pace));
        const isCapped = pace.intervalMs === Math.max(some.baseMs, 3_600_000);
        if (!isCapped) expect((count / pace.intervalMs) * 1000).toBeLessThanOrEqual(some.mostPerSecond);
      }),
    );
  });

  test("draws apart agents of a fleet that has grown, also where the interval has reached its cap", () => {
    fc.assert(
      fc.property(rules, draw, draw, (some, one, other) => {
        const pace = decidePace(some, 10_000_000_000, 0);
        expect(pace.spreadMs).toBeGreaterThanOrEqual(pace.intervalMs / 10 - 1);
        if (Math.abs(one - other) * pace.spreadMs > 1)
          expect(nextBeatMs(pace, one)).not.toBe(nextBeatMs(pace, other));
      }),
    );
  });

  test("never shrinks because a fleet has grown", () => {
    fc.assert(
      fc.property(rules, agents, agents, lastSecond, (some, one, other, many) => {
        const [fewer, more] = [Math.min(one, other), Math.max(one, other)];
        expect(decidePace(some, fewer, many).intervalMs).toBeLessThanOrEqual(
          decidePace(some, more, many).intervalMs,
        );
      }),
    );
  });
});
