import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Stage, setStage } from "../helpers/stage.ts";
import { moments, wrongAfterKill, wrongAfterRollback } from "./check-fatal-heartbeat.ts";

describe("a fatal heartbeat is all or nothing", () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await setStage();
  });
  afterAll(async () => {
    await stage.close();
  });

  test.each(moments)("when the server is killed $name", async (moment) => {
    expect(await wrongAfterKill(stage, moment)).toEqual([]);
  });

  test("when the database takes the commit back: the caller is told to try again, and nobody heard of it", async () => {
    expect(await wrongAfterRollback(stage)).toEqual([]);
  });
});
