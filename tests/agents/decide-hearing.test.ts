import { describe, expect, test } from "vitest";
import { decideDeaf, type Hearing, isMute } from "../../src/agents/decide-hearing.ts";

const quiet = { openForMs: null, endedAgoMs: null, echoWaitsMs: null, graceMs: 100, watchedMs: 10_000 };
const hearing = (more: Partial<Hearing>): Hearing => ({ ...quiet, ...more });

describe("deaf is an agent that beats", () => {
  test.each([
    ["and has no stream any more", { endedAgoMs: 101 }, "no-stream"],
    ["and opens another one in time", { endedAgoMs: 100 }, undefined],
    ["and has another one", { endedAgoMs: 5_000, openForMs: 1 }, undefined],
    ["whose server was away until just now", { endedAgoMs: 5_000, watchedMs: 50 }, undefined],
    ["and answers no echo", { openForMs: 5_000, echoWaitsMs: 101 }, "no-echo"],
    ["and has time left to answer", { openForMs: 5_000, echoWaitsMs: 100 }, undefined],
    ["and heard of an old echo just now", { openForMs: 50, echoWaitsMs: 5_000 }, undefined],
  ] as const)("%s", (_, more, expected) => {
    expect(decideDeaf("live", hearing(more))).toBe(expected);
  });

  test("not one that is silent, or never opened a stream", () => {
    for (const liveness of ["never", "stale", "offline"] as const)
      expect(decideDeaf(liveness, hearing({ endedAgoMs: 5_000 }))).toBeUndefined();
    expect(decideDeaf("live", null)).toBeUndefined();
  });
});

test("mute is an agent whose stream is open and that does not beat", () => {
  const open = hearing({ openForMs: 101 });
  expect((["never", "live", "stale", "offline"] as const).map((each) => isMute(each, open))).toEqual([
    true,
    false,
    true,
    true,
  ]);
  // It has said hello just now.
  expect(isMute("never", hearing({ openForMs: 100 }))).toBe(false);
  expect(isMute("offline", hearing({ endedAgoMs: 1 }))).toBe(false);
  expect(isMute("offline", null)).toBe(false);
});
