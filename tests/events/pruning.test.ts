import { Code } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { pruneAudit } from "../../src/audit/prune-audit.ts";
import { pruneEvents } from "../../src/events/prune-events.ts";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { enrollAgent } from "../helpers/fleet-api.ts";
import { type Stage, setStage } from "../helpers/stage.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { watchEvents } from "./watch-client.ts";

const HOUR = 3_600_000;

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

const list = () => stage.operator.events.listEvents({ pageSize: 1000 });
const cursors = async () => (await list()).events.map(({ cursor }) => cursor);

/** Makes all events but the newest `keep` two hours old. */
async function age(keep: number): Promise<void> {
  await stage.sql`
    UPDATE events SET time = clock_timestamp() - interval '2 hours'
    WHERE seq <= (SELECT max(last_seq) FROM event_streams) - ${keep}`;
}

describe("pruning events", () => {
  test("takes a numbered prefix, batch by batch, and leaves what is young or has no number", async () => {
    for (let each = 0; each < 4; each += 1) await enrollAgent(stage.fleet, stage.operator);
    const before = await cursors();
    await age(3);
    // An old event behind a young one stays: only a prefix goes.
    await stage.sql`
      UPDATE events SET time = clock_timestamp() - interval '3 hours' WHERE seq = ${before.length - 1}`;
    expect(await pruneEvents(database.db, 4, HOUR)).toBe(4);
    expect(await cursors()).toEqual(before.slice(4));
    expect(await pruneEvents(database.db, 1000, HOUR)).toBe(before.length - 7);
    expect(await pruneEvents(database.db, 1000, HOUR)).toBe(0);
    expect(await cursors()).toEqual(before.slice(-3));
    await stage.sql`
      INSERT INTO events (project_id, type, subject, time)
      SELECT id, 'task.created', 'task_x', clock_timestamp() - interval '9 hours' FROM projects`;
    expect(await pruneEvents(database.db, 1000, HOUR)).toBe(0);
    // By now it has its number, behind young ones.
    await waitFor(async () => (await list()).events.length === 4, { what: "its number" });
  });

  test("a cursor before what is left is refused, and a watch that goes on misses nothing", async () => {
    const before = await cursors();
    const watch = watchEvents(stage.operator, { after: before[0] ?? "" });
    await waitFor(() => watch.facts().length >= before.length - 1, { what: "the watch to catch up" });
    await age(0);
    expect(await pruneEvents(database.db, 1000, HOUR)).toBe(before.length);
    const empty = await list();
    expect(empty.events).toEqual([]);
    const refused = await watchEvents(stage.operator, { after: before[0] ?? "" }).ended();
    expect(refused).toMatchObject({ code: Code.OutOfRange });
    // The place behind the last one can be served, though no event is left.
    const last = watchEvents(stage.operator, { after: before.at(-1) ?? "" });
    await last.open();
    expect(empty.cursor).toBe(before.at(-1));
    const agent = await enrollAgent(stage.fleet, stage.operator);
    await waitFor(() => last.facts().length >= 3 && watch.facts().length >= before.length + 2, {
      what: "what came after",
    });
    expect(last.facts().map(({ cursor }) => cursor)).toEqual(
      watch
        .facts()
        .slice(-3)
        .map(({ cursor }) => cursor),
    );
    expect(last.facts()[1]?.subject).toBe(`agent_${agent.uuid}`);
    for (const each of [watch, last]) each.cancel();
  });

  test("a watch that still reads what is pruned hears so", async () => {
    const { cursor } = await list();
    // More than a watch buffers, so that it is in the middle of catching up.
    await stage.sql`
      INSERT INTO events (project_id, type, subject)
      SELECT p.id, 'task.created', 'task_x' FROM projects p, generate_series(1, 12000)`;
    await waitFor(
      async () => (await stage.sql`SELECT 1 FROM events WHERE seq IS NULL LIMIT 1`).length === 0,
      {
        what: "numbers for all",
        timeoutMs: 30_000,
      },
    );
    const stream = stage.operator.events.watchEvents({ after: cursor })[Symbol.asyncIterator]();
    let seen = 0;
    for (; seen < 10; seen += 1) await stream.next();
    await age(0);
    while ((await pruneEvents(database.db, 5000, HOUR)) > 0);
    const rest = async () => {
      for (;;) {
        const { value } = await stream.next();
        if (value?.event?.type !== "bookmark") seen += 1;
        if (seen >= 12_000) return "all of it";
      }
    };
    const outcome: unknown = await rest().catch((error: unknown) => error);
    // Either it was quicker than the pruning, or it is told; it never goes on as if nothing were missing.
    if (outcome !== "all of it") expect(outcome).toMatchObject({ code: Code.OutOfRange });
  });
});

test("pruning the audit log takes the oldest entries alone, and leaves it append-only", async () => {
  const agent = await enrollAgent(stage.fleet, stage.operator);
  await stage.fleet.agent(agent.token).heartbeat({ status: AgentStatus.ONLINE });
  const count = async () => (await stage.sql`SELECT 1 FROM audit_entries`).length;
  const before = await count();
  expect(await pruneAudit(database.db, 1000, HOUR)).toBe(0);
  expect(await pruneAudit(database.db, 2, 0)).toBe(2);
  expect(await count()).toBe(before - 2);
  await expect(stage.sql`DELETE FROM audit_entries`).rejects.toMatchObject({ code: "42501" });
  expect(await pruneAudit(database.db, 1000, 0)).toBe(before - 2);
  expect(await count()).toBe(0);
});
