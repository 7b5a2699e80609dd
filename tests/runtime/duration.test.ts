import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { longestDurationMs, parseDuration, printDuration } from "../../src/runtime/duration.ts";

describe("parseDuration", () => {
  it.each([
    ["15s", 15_000],
    ["30d", 2_592_000_000],
    ["5m", 300_000],
    ["1h30m", 5_400_000],
    ["250ms", 250],
    ["0.5s", 500],
    ["1.001s", 1_001],
    ["1m1.5s", 61_500],
    ["1d2h3m4s5ms", 93_784_005],
    ["0s", 0],
    ["90m", 5_400_000],
    ["600s", 600_000],
    ["36500d", longestDurationMs],
  ])("reads %s", (text, ms) => {
    expect(parseDuration(text)).toEqual({ kind: "ok", ms });
  });

  it.each([
    "",
    " ",
    "15",
    "s",
    "15 s",
    " 15s",
    "15s\n",
    "-15s",
    "+1s",
    "1.5h",
    "1.5ms",
    "1.s",
    ".5s",
    "0.0001s",
    "1e3s",
    "30m1h",
    "1s1s",
    "15S",
  ])("refuses %j", (text) => {
    expect(parseDuration(text)).toEqual({
      kind: "bad",
      problem: `must be a duration such as 250ms, 15s, 1h30m or 30d, not ${JSON.stringify(text)}`,
    });
  });

  it("refuses more than a century, and a megabyte", () => {
    expect(parseDuration("36500d1ms")).toEqual({
      kind: "bad",
      problem: "must be at most 36500d, not 36500d1ms",
    });
    expect(parseDuration("9999999999999999d").kind).toBe("bad");
    expect(parseDuration("9".repeat(1_000_000)).kind).toBe("bad");
  });
});

describe("printDuration", () => {
  it("refuses what is no duration", () => {
    for (const ms of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => printDuration(ms)).toThrow(RangeError);
    }
  });

  it("is read back", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: longestDurationMs }), (ms) => {
        expect(parseDuration(printDuration(ms))).toEqual({ kind: "ok", ms });
      }),
    );
  });
});
