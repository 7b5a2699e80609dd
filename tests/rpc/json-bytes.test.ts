import type { JsonValue } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compactJsonBytes } from "../../src/rpc/json-bytes.ts";

describe("compactJsonBytes", () => {
  it.each<[JsonValue, number]>([
    [null, 4],
    [{}, 2],
    [[], 2],
    [[1, 2], 5],
    [{ a: 1, b: "ä" }, 16],
    ['\u0000"\n', 12],
    ["😀", 6],
    ["\ud800", 8],
    [-0, 1],
    [1e21, 5],
  ])("%j takes %d", (value, bytes) => {
    expect(compactJsonBytes(value)).toBe(bytes);
  });

  it("agrees with JSON.stringify", () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: "binary" }), (value) => {
        // fc.jsonValue promises JSON values; its type says unknown.
        expect(compactJsonBytes(value as JsonValue)).toBe(Buffer.byteLength(JSON.stringify(value)));
      }),
      { numRuns: 500 },
    );
  });

  it("counts a __proto__ key", () => {
    expect(compactJsonBytes(JSON.parse('{"__proto__":{"a":1}}'))).toBe(21);
  });

  it("counts at depths where JSON.stringify overflows", () => {
    let value: JsonValue = 1;
    for (let level = 0; level < 200_000; level++) value = [value];
    expect(() => JSON.stringify(value)).toThrow(RangeError);
    expect(compactJsonBytes(value)).toBe(400_001);
  });

  it("stops above enough", () => {
    const value = Array.from({ length: 1_000 }, () => ["x".repeat(100)]);
    expect(compactJsonBytes(value, 16_384)).toBeGreaterThan(16_384);
    expect(compactJsonBytes(value, 16_384)).toBeLessThan(17_000);
    expect(compactJsonBytes("abc", 5)).toBe(5);
  });
});
