import { expect, test } from "vitest";
import { setStage } from "../../helpers/stage.ts";
import { bugs } from "./bugs.ts";
import { plantBug } from "./plant.ts";

/** All checks one after the other; some take the time of a leader's term. */
const SLOW_MS = 240_000;

test(
  "the same checks find nothing wrong with a copy that has no bug",
  async () => {
    const checkout = await plantBug([]);
    const stage = await setStage({ root: checkout.root });
    try {
      for (const check of new Set(bugs.map((bug) => bug.check))) expect(await check(stage)).toEqual([]);
    } finally {
      await stage.close();
      await checkout.remove();
    }
  },
  SLOW_MS,
);
