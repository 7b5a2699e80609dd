import { describe, expect, test } from "vitest";
import { type Stage, setStage } from "../../helpers/stage.ts";
import { bugs, type PlantedBug } from "./bugs.ts";
import { type Edit, plantBug } from "./plant.ts";

/** What a check finds wrong with a server of these sources; a check that breaks off has found something. */
async function foundWrong(
  { check, env }: Pick<PlantedBug, "check" | "env">,
  edits: Edit[],
): Promise<string[]> {
  const checkout = await plantBug(edits);
  const stage = await setStage({ root: checkout.root, ...(env !== undefined && { env }) });
  try {
    return await findings(check, stage);
  } finally {
    // How it would stop is nobody's question, and a bug may keep it from stopping at all.
    if (stage.server.running()) await stage.server.kill();
    await stage.close();
    await checkout.remove();
  }
}

async function findings(check: PlantedBug["check"], stage: Stage): Promise<string[]> {
  try {
    return await check(stage);
  } catch (error) {
    return [String(error)];
  }
}

/** A server is started and killed, and some checks take the time of a leader's term. */
const SLOW_MS = 120_000;

describe("a check notices when", () => {
  test.each(bugs)(
    "$name",
    async (bug) => {
      expect((await foundWrong(bug, bug.edits)).join("\n")).toMatch(bug.finds);
    },
    SLOW_MS,
  );
});
