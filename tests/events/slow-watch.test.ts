import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { WatchEventsResponse } from "../../gen/drover/v1/event_service_pb.js";
import { EventFeed } from "../../src/events/event-feed.ts";
import { readStream } from "../../src/events/event-store.ts";
import { pruneEvents } from "../../src/events/prune-events.ts";
import { Watch } from "../../src/events/watch.ts";
import { Outbox } from "../../src/runtime/outbox.ts";
import { Refusal } from "../../src/runtime/refusal.ts";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { type Stage, setStage } from "../helpers/stage.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { watchEvents } from "./watch-client.ts";

/** What a watch may hold of events that its caller has not read: its buffer, and a page of the table on its way there. */
const HELD_EVENTS = 1_024 + 500;

let stage: Stage;
let database: Database;
beforeAll(async () => {
  stage = await setStage();
  database = openDatabase({ url: stage.databaseUrl, applicationName: "tests" });
});
afterAll(async () => {
  await database.close();
  await stage.close();
});

const cursor = async () => (await stage.operator.events.listEvents({ pageSize: 1 })).cursor;
const seqOf = (of: string) => Number(of.split(".")[1]);

async function writeEvents(count: number): Promise<void> {
  await stage.sql`
    INSERT INTO events (project_id, type, subject, data)
    SELECT p.id, 'task.created', 'task_' || n, '{}'
    FROM projects p, generate_series(1, ${count}) n`;
}

describe("a watch that is behind", () => {
  /** A watch as the server runs it, whose caller has not read anything yet. */
  async function behind(stalledMs?: number) {
    const [project] = await stage.sql<{ id: string }[]>`SELECT id FROM projects WHERE name = 'default'`;
    const projectId = project?.id ?? "";
    const errors: unknown[] = [];
    const onError = (error: unknown) => errors.push(error);
    const feed = new EventFeed(database.db, onError);
    await feed.start();
    const stream = await readStream(database.db, projectId);
    const everything = { types: [], agentNames: [], agentIds: [], taskIds: [] };
    const parts = { db: database.db, feed, onError, ...(stalledMs !== undefined && { stalledMs }) };
    const watch = new Watch(projectId, everything, stream, stream.prunedSeq, parts, () => {});
    void watch.run();
    return { watch, feed, errors, first: stream.prunedSeq + 1n };
  }

  /** All that it brings, and how it ends. */
  async function read(messages: AsyncIterable<WatchEventsResponse>) {
    const seqs: bigint[] = [];
    try {
      for await (const { event } of messages) seqs.push(BigInt(seqOf(event?.cursor ?? "")));
    } catch (error) {
      if (error instanceof Refusal) return { seqs, end: error };
      throw error;
    }
    throw new Error("it ended well");
  }

  async function writtenAndNumbered(count: number): Promise<void> {
    await writeEvents(count);
    const numbered = async () => (await stage.sql`SELECT 1 FROM events WHERE seq IS NULL`).length === 0;
    await waitFor(numbered, { what: "their numbers" });
  }

  const dense = (first: bigint, count: number) => Array.from({ length: count }, (_, n) => first + BigInt(n));

  test("when its events are pruned gets the little it held and then OUT_OF_RANGE; one at the front misses nothing", async () => {
    await writtenAndNumbered(2_500);
    const { watch, feed, errors, first } = await behind();
    const last = await cursor();
    const front = watchEvents(stage.operator, { after: last });
    await front.open();
    await stage.sql`UPDATE events SET time = clock_timestamp() - interval '2 hours'`;
    expect(await pruneEvents(database.db, 100_000, 3_600_000)).toBeGreaterThanOrEqual(2_500);
    await writtenAndNumbered(3);
    const { seqs, end } = await read(watch.messages);
    expect(seqs).toEqual(dense(first, seqs.length));
    expect(seqs.length).toBeLessThanOrEqual(HELD_EVENTS);
    expect(end).toMatchObject({ kind: "out-of-range", reason: "CURSOR_PRUNED" });
    await waitFor(() => front.facts().length === 3, { what: "what came after, at the front" });
    expect(front.facts().map((event) => seqOf(event.cursor) - seqOf(last))).toEqual([1, 2, 3]);
    front.cancel();
    await feed.stop();
    expect(errors).toEqual([]);
  });

  test("and is not read is sent away with its cursor's place to resume from", async () => {
    await writtenAndNumbered(2_500);
    const { watch, feed } = await behind(1);
    const { messages } = watch;
    if (!(messages instanceof Outbox)) throw new Error("nobody can see whether it was sent away");
    await waitFor(() => messages.isClosed, { what: "an end of patience" });
    const { seqs, end } = await read(messages);
    expect(seqs).toEqual([]);
    expect(end).toMatchObject({ kind: "resource-exhausted", reason: "WATCH_TOO_SLOW" });
    await feed.stop();
  });
});
