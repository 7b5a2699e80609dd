import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  allowanceOf,
  type Brake,
  type BrakeSettings,
  decideBrake,
  type FleetCount,
  isReturn,
  spend,
} from "../../src/liveness/decide-brake.ts";

const settings: BrakeSettings = { fraction: 0.55, minAgents: 5, agentsPerSecond: 0.1 };
const off: Brake = { kind: "off" };
const fleet = (counted: number, gone: number, lost = gone, holding = true): FleetCount => ({
  counted,
  gone,
  lost,
  holding,
});
const kindOf = (count: FleetCount, before: Brake = off) => decideBrake(before, count, 0, settings).kind;

describe("the brake", () => {
  test.each([
    ["few are gone", fleet(10, 5), "off"],
    ["most are gone", fleet(10, 6), "slow"],
    ["the fraction is met and not passed", fleet(20, 11), "slow"],
    ["all are gone", fleet(5, 5), "stopped"],
    ["all are silent, of whom some were not called offline yet", fleet(5, 5, 1), "waiting"],
    ["most are silent, and none was called offline yet", fleet(5, 3, 0), "slow"],
    ["the project is small", fleet(4, 4), "off"],
    ["those who are gone hold nothing", fleet(10, 10, 10, false), "off"],
    ["nobody counts", fleet(0, 0, 0, false), "off"],
  ] as const)("where %s", (_, count, kind) => {
    expect(kindOf(count)).toBe(kind);
  });

  test("knows a return by the end of a stop alone", () => {
    const stopped: Brake = { kind: "stopped", engagedMs: 0 };
    expect(isReturn(stopped, decideBrake(stopped, fleet(5, 4), 1, settings))).toBe(true);
    expect(isReturn(stopped, decideBrake(stopped, fleet(5, 5), 1, settings))).toBe(false);
    const waiting: Brake = { kind: "waiting", engagedMs: 0 };
    // The last one was only late: nobody came back.
    expect(isReturn(waiting, decideBrake(waiting, fleet(5, 4), 1, settings))).toBe(false);
  });

  test("does not save up what it allows while it stops, nor while there is nothing to take", () => {
    const slow = decideBrake(off, fleet(5, 3), 0, settings);
    expect(allowanceOf(slow, 9_999, settings)).toBe(0);
    expect(allowanceOf(slow, 10_000, settings)).toBe(1);
    expect(allowanceOf(slow, 3_600_000, settings)).toBe(1);
    const stopped = decideBrake(slow, fleet(5, 5), 5_000, settings);
    expect(allowanceOf(stopped, 3_600_000, settings)).toBe(0);
    const again = decideBrake(stopped, fleet(5, 4), 3_600_000, settings);
    expect(allowanceOf(again, 3_609_999, settings)).toBe(0);
  });
});

/** What may happen to a fleet in a round: time goes by, and agents are gone, come back, or lose their tasks. */
const rounds = fc.array(
  fc.record({
    passedMs: fc.integer({ min: 0, max: 60_000 }),
    counted: fc.integer({ min: 0, max: 50 }),
    gone: fc.double({ min: 0, max: 1, noNaN: true }),
    lost: fc.double({ min: 0, max: 1, noNaN: true }),
    wanted: fc.integer({ min: 0, max: 50 }),
  }),
  { maxLength: 60 },
);
const anySettings = fc.record({
  fraction: fc.double({ min: 0.01, max: 1, noNaN: true }),
  minAgents: fc.integer({ min: 1, max: 10 }),
  agentsPerSecond: fc.oneof(fc.constant(0), fc.double({ min: 0.001, max: 100, noNaN: true })),
});

test("whatever happens, tasks go back no faster than the brake allows, and not at all while all are gone", () => {
  fc.assert(
    fc.property(anySettings, rounds, (any, all) => {
      let [brake, nowMs]: [Brake, number] = [off, 0];
      /** Since the brake was engaged last. */
      let taken = 0;
      for (const { passedMs, counted, gone: goneShare, lost: lostShare, wanted } of all) {
        nowMs += passedMs;
        const gone = Math.floor(counted * goneShare);
        const count = fleet(counted, gone, Math.floor(gone * lostShare), gone > 0);
        const before = brake;
        brake = decideBrake(brake, count, nowMs, any);
        if (before.kind === "off" || brake.kind === "off") taken = 0;
        const takes = Math.min(wanted, allowanceOf(brake, nowMs, any));
        if (counted >= any.minAgents && gone > 0 && gone === counted) expect(takes).toBe(0);
        if (counted < any.minAgents || gone / counted < any.fraction) expect(takes).toBe(wanted);
        brake = spend(brake, takes, nowMs, any);
        if (brake.kind === "off") continue;
        taken += takes;
        const allowed = ((nowMs - brake.engagedMs) / 1_000) * any.agentsPerSecond;
        expect(taken).toBeLessThanOrEqual(allowed * (1 + 1e-9) + 1e-3);
      }
    }),
  );
});

test("an agent that is lost while most are gone has its turn in the end", () => {
  fc.assert(
    fc.property(fc.double({ min: 0.001, max: 100, noNaN: true }), (agentsPerSecond) => {
      const any = { ...settings, agentsPerSecond };
      let brake = decideBrake(off, fleet(10, 9), 0, any);
      for (let [nowMs, left] = [0, 9]; left > 0; nowMs += Math.ceil(1_000 / agentsPerSecond)) {
        expect(nowMs).toBeLessThan((12_000 / agentsPerSecond) * 2 + 100);
        const takes = Math.min(left, allowanceOf(brake, nowMs, any));
        brake = spend(decideBrake(brake, fleet(10, 9), nowMs, any), takes, nowMs, any);
        left -= takes;
      }
    }),
  );
});
