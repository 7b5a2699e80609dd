import fc from "fast-check";
import { expect, test } from "vitest";
import { refuseViolations } from "../../src/rpc/refuse-violations.ts";

const violation = fc.record({
  field: fc.oneof(fc.string({ unit: "grapheme", maxLength: 2000 }), fc.constant("labels")),
  description: fc.constantFrom("must not be empty", "must be at most 64 characters"),
});

test("what is listed fits in the metadata that gRPC clients accept, and something is always listed", () => {
  fc.assert(
    fc.property(fc.array(violation, { minLength: 1, maxLength: 300 }), (violations) => {
      const { kind, message, violations: listed } = refuseViolations(violations);
      expect(kind).toBe("invalid-argument");
      expect(listed.length).toBeGreaterThan(0);
      const detailBytes = Buffer.byteLength(JSON.stringify(listed));
      expect(encodeURIComponent(message).length + detailBytes).toBeLessThan(16 * 1024);
    }),
  );
});

test("every one of a usual number is listed, in its order, and told in words", () => {
  const violations = Array.from({ length: 20 }, (_, i) => ({
    field: `labels["key-${i}"]`,
    description: "is bad",
  }));
  const { message, violations: listed } = refuseViolations(violations);
  expect(listed).toEqual(violations);
  expect(message.startsWith('labels["key-0"]: is bad; labels["key-1"]: is bad')).toBe(true);
});

test("those that are left out are counted", () => {
  const violations = Array.from({ length: 1000 }, (_, i) => ({ field: `a[${i}]`, description: "is bad" }));
  const { message, violations: listed } = refuseViolations(violations);
  expect(listed.length).toBeLessThanOrEqual(100);
  expect(message).toMatch(/; and \d+ more$/);
  const told = message.split("; ").length - 1;
  expect(message.endsWith(`and ${1000 - told} more`)).toBe(true);
});
