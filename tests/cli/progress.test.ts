import { expect, test } from "vitest";
import { progressOn } from "../../src/cli/progress.ts";

function written(stream: { isTTY?: boolean; columns?: number }, environment: Record<string, string> = {}) {
  const chunks: string[] = [];
  const progress = progressOn({ ...stream, write: (text) => void chunks.push(text) }, environment);
  progress.say("1000 of 3000 tasks");
  progress.say("2000 of 3000\n tasks");
  progress.clear();
  progress.clear();
  return chunks;
}

test("on a terminal the newest replaces the one before, and nothing is left", () => {
  const erase = "\r\u001b[2K";
  expect(written({ isTTY: true, columns: 80 })).toEqual([
    `${erase}1000 of 3000 tasks`,
    `${erase}2000 of 3000\\n tasks`,
    erase,
  ]);
  expect(written({ isTTY: true, columns: 10 })[0]?.length).toBe(erase.length + 9);
  // A terminal that does not know its width says 0.
  expect(written({ isTTY: true, columns: 0 })).toEqual(written({ isTTY: true, columns: 80 }));
});

test("nothing is written to a pipe, nor to a terminal that cannot erase", () => {
  expect(written({})).toEqual([]);
  expect(written({ isTTY: true, columns: 80 }, { TERM: "dumb" })).toEqual([]);
});
