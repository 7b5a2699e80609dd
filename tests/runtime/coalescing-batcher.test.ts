import { describe, expect, test } from "vitest";
import { type Batched, CoalescingBatcher, type Outcome } from "../../src/runtime/coalescing-batcher.ts";

interface Item {
  key: string;
  value: number;
  plain?: boolean;
}

type Place = { items: number[]; settle: (outcome: Outcome<string> | Error) => void };

/** A batcher whose batches end when the test says so. */
function batcherUnderTest(limits: { maxBatch?: number; maxInFlight?: number; capacity?: number } = {}) {
  const flights: { places: Place[]; land: () => void }[] = [];
  const waiters: (() => void)[] = [];
  const batcher = new CoalescingBatcher<Item, string>({
    keyOf: ({ key }) => key,
    folds: (earlier, later) => earlier.plain === true && later.plain === true,
    async flush(batch: readonly Batched<Item>[], settle) {
      const places = batch.map(({ item, folded }, place): Place => {
        const { promise, resolve, reject } = Promise.withResolvers<Outcome<string>>();
        settle(place, promise);
        return {
          items: [...folded, item].map(({ value }) => value),
          settle: (outcome) => (outcome instanceof Error ? reject(outcome) : resolve(outcome)),
        };
      });
      const { promise, resolve: land } = Promise.withResolvers<void>();
      flights.push({ places, land });
      for (const wake of waiters.splice(0)) wake();
      await promise;
    },
    gatherMs: 1,
    maxBatch: 10,
    maxInFlight: 1,
    capacity: 100,
    ...limits,
    overloaded: () => new Error("overloaded"),
    stopped: () => new Error("stopped"),
  });
  const flight = async (number: number) => {
    while (flights[number] === undefined) await new Promise<void>((resolve) => waiters.push(resolve));
    return flights[number];
  };
  const finish = async (number: number) => {
    const { places, land } = await flight(number);
    for (const { items, settle } of places) settle({ kind: "done", result: `did ${items.join("+")}` });
    land();
    return places.map(({ items }) => items);
  };
  return { batcher, flight, finish, flights };
}

const item = (key: string, value: number, plain = false): Item => ({ key, value, plain });

describe("a batcher", () => {
  test("gathers what comes together, and answers each for its own", async () => {
    const { batcher, finish } = batcherUnderTest();
    const answers = Promise.all([batcher.submit(item("a", 1)), batcher.submit(item("b", 2))]);
    expect(await finish(0)).toEqual([[1], [2]]);
    expect(await answers).toEqual(["did 1", "did 2"]);
  });

  test("flushes a full batch without waiting, and no more at once than it may", async () => {
    const { batcher, flights, finish } = batcherUnderTest({ maxBatch: 2 });
    const answers = Promise.all(
      ["a", "b", "c", "d", "e"].map((key, value) => batcher.submit(item(key, value))),
    );
    expect(flights.length).toBe(1);
    expect(await finish(0)).toEqual([[0], [1]]);
    expect(await finish(1)).toEqual([[2], [3]]);
    expect(await finish(2)).toEqual([[4]]);
    await answers;
  });

  test("takes the items of a key in order and never two at once, though there are flights to spare", async () => {
    const { batcher, flight, finish, flights } = batcherUnderTest({ maxInFlight: 3 });
    const first = batcher.submit(item("a", 1));
    await flight(0);
    const rest = Promise.all([batcher.submit(item("a", 2)), batcher.submit(item("b", 3))]);
    expect((await flight(1)).places.map(({ items }) => items)).toEqual([[3]]);
    await finish(0);
    expect(await first).toBe("did 1");
    expect(await finish(2)).toEqual([[2]]);
    await finish(1);
    await rest;
    expect(flights.length).toBe(3);
  });

  test("keeps a key waiting for its own outcome, and nobody else, when the flight is over", async () => {
    const { batcher, flight, finish } = batcherUnderTest();
    const slow = batcher.submit(item("a", 1));
    const { places, land } = await flight(0);
    land();
    const next = [batcher.submit(item("a", 2)), batcher.submit(item("b", 3))];
    expect(await finish(1)).toEqual([[3]]);
    places[0]?.settle({ kind: "done", result: "at last" });
    expect(await slow).toBe("at last");
    expect(await finish(2)).toEqual([[2]]);
    expect(await Promise.all(next)).toEqual(["did 2", "did 3"]);
  });

  test("folds neighbours that may fold, and takes them apart in order where that was in vain", async () => {
    const { batcher, flight, finish } = batcherUnderTest();
    const head = batcher.submit(item("a", 0));
    await flight(0);
    const rest = [
      item("a", 1, true),
      item("a", 2, true),
      item("a", 3),
      item("a", 4, true),
      item("a", 5, true),
    ].map((each) => batcher.submit(each));
    await finish(0);
    const { places, land } = await flight(1);
    expect(places.map(({ items }) => items)).toEqual([[1, 2]]);
    places[0]?.settle({ kind: "apart" });
    land();
    expect(await finish(2)).toEqual([[1]]);
    expect(await finish(3)).toEqual([[2]]);
    expect(await finish(4)).toEqual([[3]]);
    expect(await finish(5)).toEqual([[4, 5]]);
    expect(await Promise.all([head, ...rest])).toEqual([
      "did 0",
      "did 1",
      "did 2",
      "did 3",
      "did 4+5",
      "did 4+5",
    ]);
  });

  test("refuses what is beyond its bound, and takes again when there is room", async () => {
    const { batcher, finish } = batcherUnderTest({ capacity: 2 });
    const taken = [batcher.submit(item("a", 1)), batcher.submit(item("a", 2))];
    await expect(batcher.submit(item("b", 3))).rejects.toThrow("overloaded");
    await finish(0);
    await taken[0];
    const third = batcher.submit(item("b", 3));
    expect(await finish(1)).toEqual([[2]]);
    expect(await finish(2)).toEqual([[3]]);
    await Promise.all([...taken, third]);
  });

  test("gives each caller its own failure, and all of a flight that broke down the same", async () => {
    const { batcher, flight } = batcherUnderTest();
    const answers = [batcher.submit(item("a", 1)), batcher.submit(item("b", 2))];
    const { places, land } = await flight(0);
    places[0]?.settle(new Error("poison"));
    places[1]?.settle({ kind: "done", result: "well" });
    land();
    await expect(answers[0]).rejects.toThrow("poison");
    expect(await answers[1]).toBe("well");

    const broken = new CoalescingBatcher<Item, string>({
      keyOf: ({ key }) => key,
      folds: () => false,
      flush: async () => {
        throw new Error("broke down");
      },
      gatherMs: 0,
      maxBatch: 10,
      maxInFlight: 1,
      capacity: 10,
      overloaded: () => new Error("overloaded"),
      stopped: () => new Error("stopped"),
    });
    const failures = await Promise.allSettled([broken.submit(item("a", 1)), broken.submit(item("b", 2))]);
    expect(failures.map((each) => each.status === "rejected" && String(each.reason))).toEqual([
      "Error: broke down",
      "Error: broke down",
    ]);
  });

  test("writes what it took when it stops, and takes no more", async () => {
    const { batcher, finish } = batcherUnderTest();
    const taken = [batcher.submit(item("a", 1)), batcher.submit(item("a", 2))];
    const stopped = batcher.stop();
    await expect(batcher.submit(item("b", 3))).rejects.toThrow("stopped");
    await finish(0);
    await finish(1);
    await stopped;
    expect(await Promise.all(taken)).toEqual(["did 1", "did 2"]);
  });
});
