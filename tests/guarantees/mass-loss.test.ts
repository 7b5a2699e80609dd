import { afterAll, beforeAll, expect, test } from "vitest";
import { type Stage, setStage } from "../helpers/stage.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { blamedForBreak } from "./check-break.ts";
import { lossesOf, makeSilent, SWEEPS_OFTEN, takenInMassLoss, workingFleet } from "./check-mass-loss.ts";
import { writtenByThawedLeader } from "./check-thawed-leader.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await setStage({ env: SWEEPS_OFTEN });
});
afterAll(() => stage.close());

/** Servers start and stop here. */
const SLOW_MS = 120_000;

test(
  "when agents vanish together, work is taken from them slowly or not at all",
  async () => {
    expect(await takenInMassLoss(stage)).toEqual([]);
  },
  SLOW_MS,
);

test(
  "when few vanish, their tasks go back at once",
  async () => {
    const agents = await workingFleet(stage, 5);
    await makeSilent(stage, agents.slice(0, 2));
    await waitFor(async () => (await lossesOf(stage, agents)).held === 3, {
      what: "the tasks of two",
      timeoutMs: 20_000,
    });
  },
  SLOW_MS,
);

test(
  "nobody is blamed for the time in which no server ran",
  async () => {
    expect(await blamedForBreak(stage)).toEqual([]);
  },
  SLOW_MS,
);

test(
  "a leader that was frozen past its term and thawed writes nothing",
  async () => {
    expect(await writtenByThawedLeader(stage)).toEqual([]);
  },
  SLOW_MS,
);
