import fc from "fast-check";
import { expect, test } from "vitest";
import { countThatFit, MAX_PAGE_BYTES } from "../../src/storage/page-size.ts";

const MIB = 1024 * 1024;

test("a page ends before its bytes do, as late as it can, and is never empty", () => {
  const size = fc.oneof(fc.integer({ min: 1, max: 5000 }), fc.integer({ min: 1, max: 4 * MIB }));
  fc.assert(
    fc.property(fc.array(size, { minLength: 1, maxLength: 200 }), (sizes) => {
      // Each row is as long as it says, so that the rough look sees it too.
      const rows = sizes.map((bytes) => ({ bytes, text: "x".repeat(bytes / 6) }));
      const count = countThatFit(rows, (row) => row.bytes);
      const sum = (end: number) => sizes.slice(0, end).reduce((total, bytes) => total + bytes, 0);
      expect(count).toBeGreaterThanOrEqual(1);
      if (count > 1) expect(sum(count)).toBeLessThanOrEqual(MAX_PAGE_BYTES);
      if (count < sizes.length) expect(sum(count + 1) + 8 * (count + 1)).toBeGreaterThan(MAX_PAGE_BYTES);
    }),
    { numRuns: 50 },
  );
});

test("nothing is measured where it cannot matter", () => {
  const rows = Array.from({ length: 100 }, (_, i) => ({ id: BigInt(i), name: "x".repeat(500) }));
  const count = countThatFit(rows, () => {
    throw new Error("measured");
  });
  expect(count).toBe(100);
});
