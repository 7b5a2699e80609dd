import { expect, test } from "vitest";
import { runSoak } from "./soak.ts";

test("agents frozen past their lease, servers killed and PostgreSQL restarted under load: every task ends once", async () => {
  const report = await runSoak({
    // Its first round has all three; `npm run soak` goes on from there.
    seed: 7,
    servers: 2,
    agents: 4,
    goesOn: (rounds) => rounds < 1,
    log: () => {},
  });
  expect(report.problems).toEqual([]);
  // It is no case unless there was something to lose, and some of it was lost.
  expect(report.created).toBeGreaterThan(20);
  expect(report.ends.succeeded).toBeGreaterThan(20);
  expect(report.lostAttempts).toBeGreaterThan(1);
}, 300_000);
