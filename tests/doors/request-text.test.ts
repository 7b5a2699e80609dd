import fc from "fast-check";
import { expect, test } from "vitest";
import { jsonDepthExceeds, requestTextDecoder } from "../../src/doors/request-text.ts";

function depthOf(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  return 1 + Math.max(0, ...Object.values(value).map(depthOf));
}

test("counts the levels of any JSON as a walk over the parsed value does", () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 8 }), fc.nat(10), (text, maxDepth) => {
      expect(jsonDepthExceeds(text, maxDepth)).toBe(depthOf(JSON.parse(text)) > maxDepth);
    }),
    { numRuns: 500 },
  );
});

test("brackets, quotes and backslashes in strings are text", () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('"', "\\", "[", "{", "]", "}", "a") }), (text) => {
      expect(jsonDepthExceeds(JSON.stringify([text]), 1)).toBe(false);
      expect(jsonDepthExceeds(JSON.stringify([text, [text]]), 1)).toBe(true);
    }),
  );
});

test("takes any text without failing", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      jsonDepthExceeds(text, 3);
    }),
  );
});

test("decodes UTF-8, refuses anything else and what nests deeper than 64", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (text) => {
      const json = JSON.stringify(text);
      expect(requestTextDecoder.decode(Buffer.from(json))).toBe(json);
    }),
  );
  expect(() => requestTextDecoder.decode(Buffer.from([0x22, 0xff, 0x22]))).toThrow();
  const nested = (levels: number) => Buffer.from("[".repeat(levels) + "]".repeat(levels));
  expect(requestTextDecoder.decode(nested(64))).toHaveLength(128);
  expect(() => requestTextDecoder.decode(nested(65))).toThrow("64");
});
