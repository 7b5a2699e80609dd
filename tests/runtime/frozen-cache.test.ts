import { expect, it } from "vitest";
import { FrozenCache } from "../../src/runtime/frozen-cache.ts";

it("makes something once of what is frozen, and anew of what may still change", () => {
  const cache = new FrozenCache<string>();
  const print = (from: { word: string }) => `${from.word}, ${made++}`;
  let made = 0;
  const frozen = Object.freeze({ word: "frozen" });
  expect([cache.get(frozen, print), cache.get(frozen, print)]).toEqual(["frozen, 0", "frozen, 0"]);
  const open = { word: "open" };
  expect(cache.get(open, print)).toBe("open, 1");
  open.word = "changed";
  expect(cache.get(open, print)).toBe("changed, 2");
});
