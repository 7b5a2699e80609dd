import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Outbox } from "../../src/runtime/outbox.ts";

describe("an outbox", () => {
  test("hands over everything in order and never holds more than it may", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 5 }),
        fc.array(fc.boolean(), { maxLength: 60 }),
        async (capacity, turns) => {
          const outbox = new Outbox<number>(capacity);
          const puts: Promise<boolean>[] = [];
          const taken: number[] = [];
          let settled = 0;
          const take = async () => {
            const { value } = await outbox.next();
            if (value !== undefined) taken.push(value);
          };
          for (const isPut of turns) {
            if (isPut) {
              puts.push(outbox.put(puts.length).finally(() => settled++));
              // A later writer must not overtake one that waits, so each is let go as far as it comes.
              await Promise.resolve();
            } else if (taken.length < puts.length) await take();
            await new Promise(setImmediate);
            expect(settled - taken.length).toBeLessThanOrEqual(capacity);
          }
          while (taken.length < puts.length) await take();
          expect(taken).toEqual(puts.map((_, index) => index));
          expect(await Promise.all(puts)).toEqual(puts.map(() => true));
        },
      ),
    );
  });

  test("delivers what is there before the error that closes it, and says the error once", async () => {
    const outbox = new Outbox<string>(2);
    await outbox.put("one");
    const waiting = [outbox.put("two"), outbox.put("three")];
    outbox.close({ reason: new Error("over") });
    expect(await Promise.all(waiting)).toEqual([true, false]);
    expect([await outbox.next(), await outbox.next()].map(({ value }) => value)).toEqual(["one", "two"]);
    await expect(outbox.next()).rejects.toThrow("over");
    expect(await outbox.next()).toEqual({ done: true, value: undefined });
    await outbox.done();
  });

  test("drops what was not taken when it is aborted, and gives it back", async () => {
    const outbox = new Outbox<string>(2);
    await outbox.put("one");
    expect(outbox.abort(new Error("gone"))).toEqual(["one"]);
    expect(await outbox.put("two")).toBe(false);
    await expect(outbox.next()).rejects.toThrow("gone");
  });

  test("wakes a reader that waits, and tells of room", async () => {
    let rooms = 0;
    const outbox = new Outbox<string>(1, () => rooms++);
    const next = outbox.next();
    outbox.putNow("one");
    expect(await next).toEqual({ done: false, value: "one" });
    expect([outbox.room, rooms]).toEqual([1, 1]);
    const end = outbox.next();
    outbox.close();
    expect(await end).toEqual({ done: true, value: undefined });
    expect(outbox.room).toBe(0);
  });
});
