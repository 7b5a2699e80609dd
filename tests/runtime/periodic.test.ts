import { expect, test } from "vitest";
import { Periodic } from "../../src/runtime/periodic.ts";
import { waitFor } from "../helpers/wait-for.ts";

test("rounds follow each other, never two at once, and one that fails does not end them", async () => {
  let [running, most, rounds] = [0, 0, 0];
  const failures: unknown[] = [];
  const periodic = new Periodic(
    1,
    async () => {
      running += 1;
      rounds += 1;
      most = Math.max(most, running);
      await new Promise((done) => setImmediate(done));
      running -= 1;
      if (rounds === 2) throw new Error("the second");
    },
    (error) => failures.push(error),
  );
  await periodic.start();
  await waitFor(() => rounds >= 5);
  await periodic.stop();
  expect(most).toBe(1);
  expect(failures).toEqual([new Error("the second")]);
});

test("stop tells the round that runs, waits for it, and lets none follow", async () => {
  let rounds = 0;
  let ended = false;
  const periodic = new Periodic(
    0,
    async (stopping) => {
      rounds += 1;
      await new Promise((done) => stopping.addEventListener("abort", done));
      await new Promise((done) => setImmediate(done));
      ended = true;
    },
    () => {},
  );
  await periodic.start();
  await periodic.stop();
  expect(ended).toBe(true);
  await periodic.stop();
  await new Promise((done) => setImmediate(done));
  expect(rounds).toBe(1);
});
