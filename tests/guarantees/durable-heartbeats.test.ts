import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Stage, setStage } from "../helpers/stage.ts";
import { auditChainProblems } from "./audit-chain.ts";
import { killUnderLoad, lostHeartbeats, notTakenAsDuplicate } from "./check-durable-heartbeats.ts";

describe("an acknowledged heartbeat is durable", () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await setStage();
  });
  afterAll(async () => {
    await stage.close();
  });

  test.each([200, 500, 800])("after the server was killed under load, %i heartbeats in", async (enough) => {
    const records = await killUnderLoad(stage, 24, enough);
    const heard = records.filter(({ acknowledged }) => acknowledged > 0);
    expect(heard.length).toBeGreaterThan(12);
    expect(await lostHeartbeats(stage, records)).toEqual([]);
    expect(await notTakenAsDuplicate(stage, heard)).toEqual([]);
    expect(await auditChainProblems(stage.sql)).toEqual([]);
  });
});
