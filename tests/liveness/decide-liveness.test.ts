import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  decideLiveness,
  type LivenessDecision,
  maySomeoneBeDue,
} from "../../src/liveness/decide-liveness.ts";
import {
  findThresholdClashes,
  type LivenessThresholds,
  offlineAfterMs,
  staleAfterMs,
} from "../../src/liveness/thresholds.ts";

const defaults: LivenessThresholds = {
  intervalMs: 15_000,
  staleAfter: 2,
  offlineAfter: 3,
  offlineGraceMs: 10_000,
};
const NOW = 1_800_000_000_000;

const anyThresholds = fc.record({
  intervalMs: fc.integer({ min: 1_000, max: 3_600_000 }),
  staleAfter: fc.integer({ min: 1, max: 10_000 }).map((tenths) => tenths / 10),
  offlineAfter: fc.integer({ min: 1, max: 10_000 }).map((tenths) => tenths / 10),
  offlineGraceMs: fc.integer({ min: 0, max: 86_400_000 }),
});
const goodThresholds = anyThresholds.filter((each) => findThresholdClashes(each).length === 0);
const silence = fc.integer({ min: 0, max: 10_000_000 });
const watched = fc.constantFrom("live" as const, "stale" as const);

function afterSilence(
  liveness: "live" | "stale",
  silentMs: number,
  thresholds: LivenessThresholds,
  watchedMs = Number.MAX_SAFE_INTEGER / 2,
): LivenessDecision {
  const watch = { nowMs: NOW, sinceMs: NOW - watchedMs };
  return decideLiveness({ liveness, lastSeenMs: NOW - silentMs }, watch, thresholds);
}

describe("an agent's silence", () => {
  test.each([
    [29_999, "keep", "keep"],
    [30_000, "stale", "keep"],
    [54_999, "stale", "keep"],
    [55_000, "offline", "offline"],
    [10_000_000, "offline", "offline"],
  ])("of %i ms by the defaults: a live agent is %s, a stale one %s", (silentMs, live, stale) => {
    expect(afterSilence("live", silentMs, defaults).kind).toBe(live);
    expect(afterSilence("stale", silentMs, defaults).kind).toBe(stale);
  });

  test("makes nothing of an agent that never was heard, or is offline", () => {
    for (const liveness of ["never", "offline"] as const) {
      expect(decideLiveness({ liveness }, { nowMs: NOW, sinceMs: 0 }, defaults)).toEqual({ kind: "keep" });
    }
  });

  test("is told with the decision", () => {
    expect(afterSilence("stale", 56_000, defaults)).toEqual({ kind: "offline", silentMs: 56_000 });
    expect(afterSilence("live", 31_000, defaults)).toEqual({ kind: "stale", silentMs: 31_000 });
  });

  test("within the threshold never makes an agent offline, whatever the settings", () => {
    fc.assert(
      fc.property(
        goodThresholds,
        watched,
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (thresholds, liveness, part) => {
          const silentMs = Math.floor(part * offlineAfterMs(thresholds));
          expect(afterSilence(liveness, silentMs, thresholds).kind).not.toBe("offline");
        },
      ),
    );
  });

  test("of less than an interval changes nothing at all", () => {
    fc.assert(
      fc.property(
        goodThresholds,
        watched,
        fc.double({ min: 0, max: 1, noNaN: true }),
        (thresholds, liveness, part) => {
          expect(afterSilence(liveness, part * thresholds.intervalMs, thresholds)).toEqual({ kind: "keep" });
        },
      ),
    );
  });

  test("only ever worsens with its length", () => {
    const rank = { keep: 0, stale: 1, offline: 2 };
    fc.assert(
      fc.property(goodThresholds, silence, silence, (thresholds, one, more) => {
        const shorter = afterSilence("live", one, thresholds);
        const longer = afterSilence("live", one + more, thresholds);
        expect(rank[longer.kind]).toBeGreaterThanOrEqual(rank[shorter.kind]);
      }),
    );
  });

  test("counts only while someone listened", () => {
    fc.assert(
      fc.property(goodThresholds, watched, silence, silence, (thresholds, liveness, silentMs, watchedMs) => {
        const decision = afterSilence(liveness, silentMs, thresholds, watchedMs);
        expect(decision).toEqual(afterSilence(liveness, Math.min(silentMs, watchedMs), thresholds));
        if (!maySomeoneBeDue({ nowMs: NOW, sinceMs: NOW - watchedMs }, thresholds)) {
          expect(decision).toEqual({ kind: "keep" });
        }
      }),
    );
  });

  test("ahead of the clock is none", () => {
    expect(afterSilence("live", -3_600_000, defaults)).toEqual({ kind: "keep" });
  });
});

describe("thresholds", () => {
  test("as they are by default can work together", () => {
    expect(findThresholdClashes(defaults)).toEqual([]);
  });

  test.each([
    [
      "stale within an interval",
      { staleAfter: 1 },
      "DROVER_HEARTBEAT_INTERVAL must be less than DROVER_STALE_AFTER x DROVER_HEARTBEAT_INTERVAL, and 15s >= 15s: an agent that misses no heartbeat would be stale before each one.",
    ],
    [
      "stale as late as offline",
      { staleAfter: 3, offlineGraceMs: 0 },
      "DROVER_STALE_AFTER x DROVER_HEARTBEAT_INTERVAL must be less than DROVER_OFFLINE_AFTER x DROVER_HEARTBEAT_INTERVAL + DROVER_OFFLINE_GRACE, and 45s >= 45s: an agent would be offline before it is stale.",
    ],
  ])("are refused with the inequality that fails: %s", (_, change, sentence) => {
    expect(findThresholdClashes({ ...defaults, ...change })).toEqual([sentence]);
  });

  test("that call an agent offline within an interval are refused, by each inequality that fails", () => {
    expect(findThresholdClashes({ ...defaults, offlineAfter: 0.5, offlineGraceMs: 0 })).toEqual([
      expect.stringContaining(
        "15s >= 7s500ms: an agent that misses no heartbeat would be offline before each one",
      ),
      expect.stringContaining("30s >= 7s500ms"),
    ]);
  });

  test("are good exactly when interval < stale < offline", () => {
    fc.assert(
      fc.property(anyThresholds, (thresholds) => {
        const [stale, offline] = [staleAfterMs(thresholds), offlineAfterMs(thresholds)];
        const good = thresholds.intervalMs < stale && stale < offline;
        expect(findThresholdClashes(thresholds).length === 0).toBe(good);
      }),
    );
  });
});
