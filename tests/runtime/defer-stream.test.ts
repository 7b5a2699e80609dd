import { describe, expect, it } from "vitest";
import { deferStream } from "../../src/runtime/defer-stream.ts";

async function* counting(to: number, left: () => void = () => {}) {
  try {
    for (let count = 1; count <= to; count += 1) yield count;
  } finally {
    left();
  }
}

async function all<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of stream) items.push(item);
  return items;
}

describe("a stream whose source is found later", () => {
  it("gives what the source gives, and looks for it only when asked for something", async () => {
    let sought = 0;
    const stream = deferStream(async () => {
      sought += 1;
      return counting(3);
    });
    expect(sought).toBe(0);
    expect(await all(stream)).toEqual([1, 2, 3]);
    expect(sought).toBe(1);
  });

  it("leaves the source when its reader leaves, also one that is still being sought", async () => {
    let left = 0;
    const source = () => counting(3, () => (left += 1));
    for await (const count of deferStream(async () => source())) if (count === 1) break;
    expect(left).toBe(1);

    const found = Promise.withResolvers<AsyncIterable<number>>();
    const iterator = deferStream(() => found.promise)[Symbol.asyncIterator]();
    const first = iterator.next();
    const leaving = iterator.return?.();
    found.resolve(source());
    await leaving;
    await first;
    expect(left).toBe(2);
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
  });

  it("says once that there is no source", async () => {
    const iterator = deferStream<number>(() => Promise.reject(new Error("there is none")))[
      Symbol.asyncIterator
    ]();
    await expect(iterator.next()).rejects.toThrow("there is none");
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
  });
});
