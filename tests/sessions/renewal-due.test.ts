import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { RenewalDue } from "../../src/sessions/renewal-due.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

test("asks the database once, and again at the moment that it named", async () => {
  const answers = [5_000, 0, 0];
  const due = new RenewalDue(false, async () => answers.shift());
  expect([await due.now(), await due.now(), answers.length]).toEqual([false, false, 2]);
  vi.advanceTimersByTime(4_999);
  expect([await due.now(), answers.length]).toEqual([false, 2]);
  vi.advanceTimersByTime(1);
  expect([await due.now(), answers.length]).toEqual([true, 1]);
  // The offer was made; the agent gets a minute to take it up before the next.
  expect([await due.now(), answers.length]).toEqual([false, 1]);
  vi.advanceTimersByTime(60_000);
  expect([await due.now(), answers.length]).toEqual([true, 0]);
});

test("a token that was due when the stream opened is renewed by the first heartbeat", async () => {
  const due = new RenewalDue(true, async () => {
    throw new Error("it is known already");
  });
  expect([await due.now(), await due.now()]).toEqual([true, false]);
});

test("a token that never ends is never due", async () => {
  let asked = 0;
  const due = new RenewalDue(false, async () => {
    asked += 1;
    return undefined;
  });
  vi.advanceTimersByTime(10 ** 9);
  expect([await due.now(), await due.now(), asked]).toEqual([false, false, 1]);
});
