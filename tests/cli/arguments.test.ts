import { PassThrough } from "node:stream";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { agentPath, repeatedLabel } from "../../src/cli/arguments.ts";
import { confirm } from "../../src/cli/confirm.ts";
import { parseDurationMs, parseInstant, protoDuration } from "../../src/cli/time-arguments.ts";

describe("durations", () => {
  it.each([
    ["250ms", 250],
    ["90s", 90_000],
    ["10m", 600_000],
    ["1.5h", 5_400_000],
    ["1h30m", 5_400_000],
    ["30d", 2_592_000_000],
    ["0s", 0],
  ])("%s is %i ms", (text, ms) => expect(parseDurationMs(text)).toBe(ms));

  it.each(["", "10", "s", "-5s", "1 h", "5y", "1h!", "999999999999d", `${"9".repeat(400)}s`])(
    "%j is none",
    (text) => expect(() => parseDurationMs(text)).toThrow("Give a duration"),
  );

  it("reach the server to the millisecond", () => {
    fc.assert(
      fc.property(fc.nat(), (ms) => {
        expect(Math.round(Number.parseFloat(protoDuration(ms)) * 1000)).toBe(ms);
        expect(protoDuration(ms)).toMatch(/^\d+(\.\d{3})?s$/);
      }),
    );
  });
});

describe("instants", () => {
  const now = Date.UTC(2030, 0, 31, 12);
  it.each([
    ["1h", "2030-01-31T11:00:00.000Z"],
    ["2030-01-30", "2030-01-30T00:00:00.000Z"],
    ["2030-01-30T08:00:00Z", "2030-01-30T08:00:00.000Z"],
    ["2030-01-30T08:00:00.5+02:00", "2030-01-30T06:00:00.500Z"],
  ])("%s is %s", (text, instant) => expect(parseInstant(text, now)).toBe(instant));

  it.each(["yesterday", "2030-13-01", "2030-01-30T25:00:00Z", "2030-01-30 08:00", "12"])(
    "%j is none",
    (text) => expect(() => parseInstant(text, now)).toThrow("Give a duration back from now"),
  );
});

describe("labels", () => {
  it("gather, split at the first equals sign, and may be named __proto__", () => {
    const labels = ["a=b=c", "__proto__=x", "empty="].reduce((all, text) => repeatedLabel(text, all), {});
    expect(Object.entries(labels)).toEqual([
      ["a", "b=c"],
      ["__proto__", "x"],
      ["empty", ""],
    ]);
  });

  it("are refused without a key, without a value, and twice", () => {
    expect(() => repeatedLabel("=x")).toThrow("key=value");
    expect(() => repeatedLabel("x")).toThrow("key=value");
    expect(() => repeatedLabel("x=2", { x: "1" })).toThrow("given twice");
  });
});

it("an agent's path is the one that was meant, or none", () => {
  fc.assert(
    fc.property(fc.string(), (name) => {
      let path: string;
      try {
        path = agentPath(name);
      } catch {
        return;
      }
      expect(new URL(path, "http://host").pathname).toBe(`/api/v1/agents/${name}`);
    }),
  );
});

describe("confirm", () => {
  it.each([
    ["y\n", true],
    ["YES\n", true],
    ["n\n", false],
    ["\n", false],
    ["yesterday\n", false],
    ["", false],
  ])("takes %j as %s", async (typed, agreed) => {
    const input = new PassThrough();
    const output = new PassThrough();
    input.end(typed);
    expect(await confirm("Really?", input, output)).toBe(agreed);
    expect(String(output.read())).toContain("Really? [y/N]");
  });
});
