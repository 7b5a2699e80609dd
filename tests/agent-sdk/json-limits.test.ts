import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkContext, checkResult, fittingMessage } from "../../src/agent-sdk/json-limits.ts";

const nested = (levels: number): unknown => JSON.parse("[".repeat(levels) + "]".repeat(levels));

describe("a result", () => {
  it("is what JSON makes of it", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 20 }), (value) => {
        expect(checkResult(value)).toEqual({ kind: "ok", value: JSON.parse(JSON.stringify(value)) });
      }),
    );
    expect(checkResult(undefined)).toEqual({ kind: "ok", value: null });
    expect(checkResult(new Date(0))).toEqual({ kind: "ok", value: "1970-01-01T00:00:00.000Z" });
  });

  it("is held at its caps", () => {
    expect(checkResult("x".repeat(256 * 1024 - 2)).kind).toBe("ok");
    expect(checkResult("x".repeat(256 * 1024 - 1)).kind).toBe("bad");
    expect(checkResult(nested(64)).kind).toBe("ok");
    expect(checkResult(nested(65)).kind).toBe("bad");
    expect(checkResult(["[".repeat(100), '"[['])).toMatchObject({ kind: "ok" });
    expect(checkResult(1n).kind).toBe("bad");
  });
});

it("a context is an object within its caps", () => {
  expect(checkContext({ a: nested(31) }).kind).toBe("ok");
  expect(checkContext({ a: nested(32) }).kind).toBe("bad");
  expect(checkContext([]).kind).toBe("bad");
  expect(checkContext({ a: "x".repeat(16 * 1024) }).kind).toBe("bad");
});

it("a message fits, whatever it was", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 6000, size: "max" }), (text) => {
      const fitting = fittingMessage(text);
      expect([...fitting].length).toBeGreaterThan(0);
      expect([...fitting].length).toBeLessThanOrEqual(4096);
      expect(fitting).not.toContain("\0");
      expect(fitting.isWellFormed()).toBe(true);
    }),
  );
});
