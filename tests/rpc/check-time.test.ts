import { create, toJson } from "@bufbuild/protobuf";
import { DurationSchema, TimestampSchema } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { expect, test } from "vitest";
import { durationProblem, timestampProblem } from "../../src/rpc/check-time.ts";

const nearby = (...edges: bigint[]) =>
  fc.tuple(fc.constantFrom(...edges), fc.bigInt({ min: -3n, max: 3n })).map(([edge, step]) => edge + step);
const nanos = fc.oneof(fc.integer(), fc.constantFrom(-1, 0, 1, 999_999_999, 1_000_000_000, -999_999_999));

test("a time is fine exactly where it can be printed", () => {
  const seconds = fc.oneof(
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    nearby(-62_135_596_800n, 253_402_300_799n, 0n),
  );
  fc.assert(
    fc.property(seconds, nanos, (s, n) => {
      const time = create(TimestampSchema, { seconds: s, nanos: n });
      const prints = n >= 0 && n <= 999_999_999 && canPrint(() => toJson(TimestampSchema, time));
      expect(timestampProblem(time) === undefined).toBe(prints);
    }),
  );
});

test("a duration is fine exactly where it can be printed", () => {
  const seconds = fc.oneof(
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    nearby(-315_576_000_000n, 315_576_000_000n, 0n),
  );
  fc.assert(
    fc.property(seconds, nanos, (s, n) => {
      const duration = create(DurationSchema, { seconds: s, nanos: n });
      const small = Math.abs(n) <= 999_999_999 && !(s > 0n && n < 0) && !(s < 0n && n > 0);
      const prints = small && canPrint(() => toJson(DurationSchema, duration));
      expect(durationProblem(duration) === undefined).toBe(prints);
    }),
  );
});

function canPrint(print: () => unknown): boolean {
  try {
    print();
    return true;
  } catch {
    return false;
  }
}
