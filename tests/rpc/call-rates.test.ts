import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CallRates } from "../../src/rpc/call-rates.ts";
import { TokenBucket } from "../../src/rpc/token-bucket.ts";

const refused = (call: () => void): boolean => {
  try {
    call();
    return false;
  } catch {
    return true;
  }
};

describe("a token bucket", () => {
  test("gives no more in any stretch of time than its burst and what flowed in", () => {
    const steps = fc.array(fc.nat(300), { maxLength: 200 });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 50 }),
        steps,
        (burst, perSecond, waits) => {
          const bucket = new TokenBucket({ burst, perSecond });
          let now = 0;
          let given = 0;
          for (const wait of waits) {
            now += wait;
            if (bucket.take(now) === 0) given += 1;
          }
          expect(given).toBeLessThanOrEqual(burst + (now * perSecond) / 1000 + 1e-6);
        },
      ),
    );
  });

  test("gives one when the time that it told has passed", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 50 }), (burst, perSecond) => {
        const bucket = new TokenBucket({ burst, perSecond });
        let wait = 0;
        for (let i = 0; i <= burst; i += 1) wait = bucket.take(0);
        expect(wait).toBeGreaterThan(0);
        expect(bucket.take(wait)).toBe(0);
      }),
    );
  });
});

describe("rates of calls", () => {
  test("are counted by token, by address and in all", () => {
    const rates = new CallRates({ perToken: 1, perAddress: 2, inAll: 3 });
    expect([1, 2, 3].map(() => refused(() => rates.byToken("a", 0)))).toEqual([false, false, true]);
    expect(refused(() => rates.byToken("b", 0))).toBe(false);
    const from = (address: string) => refused(() => rates.fromAddress(address, 0));
    expect([from("x"), from("x"), from("x"), from("x"), from("x")]).toEqual([
      false,
      false,
      false,
      false,
      true,
    ]);
    expect([from("y"), from("y"), from("z")]).toEqual([false, false, true]);
  });

  test("of 0 are no limit", () => {
    const rates = new CallRates({ perToken: 0, perAddress: 0, inAll: 0 });
    for (let i = 0; i < 1_000; i += 1) {
      rates.byToken("a", 0);
      rates.fromAddress("x", 0);
    }
  });
});
