import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startServer } from "../helpers/server-process.ts";
import { type Stage, setStage } from "../helpers/stage.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { toldOfRollback, wrongAfterLateCommits, wrongUnderTraffic } from "./check-event-stream.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await setStage();
});
afterAll(async () => {
  await stage.close();
});

describe("the stream of events", () => {
  test("skips nothing and turns nothing around, in whatever order transactions commit", async () => {
    expect(await wrongAfterLateCommits(stage)).toEqual([]);
  });

  test("tells nobody of what was rolled back", async () => {
    expect(await toldOfRollback(stage)).toEqual([]);
  });

  test("is the same for watches that stay and watches that come anew, under 32 writers on 50 subjects", async () => {
    const wrong = await wrongUnderTraffic(stage, { writers: 32, rounds: 40, subjects: 50 });
    expect(wrong).toEqual([]);
  }, 120_000);

  test("goes on, without a gap, when the sequencer's server is killed and another takes over", async () => {
    const other = await startServer({ databaseUrl: stage.databaseUrl });
    try {
      const wrong = await wrongUnderTraffic(stage, { writers: 8, rounds: 60, subjects: 20 }, async () => {
        // In the middle of its work: events wait for it.
        const isBusy = async () =>
          (await stage.sql`SELECT 1 FROM events WHERE seq IS NULL LIMIT 1`).length > 0;
        await waitFor(isBusy, { what: "work for the sequencer", everyMs: 2 });
        await stage.restart();
      });
      expect(wrong).toEqual([]);
    } finally {
      await other.stop();
    }
  }, 120_000);

  test("goes on when the sequencer's server is frozen, within seconds, and the frozen one writes nothing more", async () => {
    const other = await startServer({ databaseUrl: stage.databaseUrl });
    const frozen = stage.server;
    try {
      frozen.signal("SIGSTOP");
      await stage.sql`
        INSERT INTO events (project_id, type, subject) SELECT id, 'task.created', 'task_x' FROM projects`;
      const isNumbered = async () => (await stage.sql`SELECT 1 FROM events WHERE seq IS NULL`).length === 0;
      await waitFor(isNumbered, { what: "the takeover", timeoutMs: 20_000 });
    } finally {
      frozen.signal("SIGCONT");
      await stage.restart();
      await other.stop();
    }
    expect(await wrongUnderTraffic(stage, { writers: 4, rounds: 20, subjects: 10 })).toEqual([]);
  }, 120_000);
});
