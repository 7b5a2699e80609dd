import { describe, expect, test } from "vitest";
import { logLines } from "../helpers/log-lines.ts";
import { setStage } from "../helpers/stage.ts";
import { clockOff, judgedByOwnClock } from "./check-clock.ts";

const HOUR_MS = 3_600_000;

describe("the database's clock decides", () => {
  test.each([HOUR_MS, -HOUR_MS])("with a server whose own is off by %i ms", async (offMs) => {
    const stage = await setStage({ env: clockOff(offMs) });
    try {
      expect(await judgedByOwnClock(stage)).toEqual([]);
      const [line] = await logLines(stage.server, { msg: "agent status changed" }, 1);
      // The fault really fired.
      expect(Math.abs(Date.parse(String(line?.time)) - Date.now() - offMs)).toBeLessThan(HOUR_MS / 2);
    } finally {
      await stage.close();
    }
  });
});
