import { sql } from "drizzle-orm";
import { jsonb, pgTable, text } from "drizzle-orm/pg-core";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Database, inTransaction, openDatabase } from "../../src/storage/database.ts";
import {
  DatabaseUnavailable,
  databaseErrorCode,
  isRetryable,
  isUniqueViolation,
} from "../../src/storage/database-error.ts";
import { createTestDatabase, type TestDatabase } from "../helpers/test-database.ts";
import { waitFor } from "../helpers/wait-for.ts";

const values = pgTable("notes", { id: text("id").primaryKey(), body: jsonb("body") });

let testDatabase: TestDatabase;
let database: Database;

beforeAll(async () => {
  testDatabase = await createTestDatabase({ empty: true });
  database = openDatabase({ url: testDatabase.url, applicationName: "test", maxConnections: 4 });
  await database.sql`CREATE TABLE notes (id text PRIMARY KEY, body jsonb)`;
});

beforeEach(async () => {
  await database.sql`TRUNCATE notes`;
});

afterAll(async () => {
  await database.close();
  await testDatabase.drop();
});

async function ids(): Promise<string[]> {
  return (await database.sql<{ id: string }>`SELECT id FROM notes ORDER BY id`).map(({ id }) => id);
}

describe("values", () => {
  test("keep their worth on the way: bigint, microseconds, arrays, bytes", async () => {
    const [row] = await database.sql`SELECT 9007199254740993::bigint AS big, ARRAY[1, 2]::bigint[] AS bigs,
      '2025-01-02 03:04:05.123456+00'::timestamptz AS at, ${["a", "b,c"]}::text[] AS texts, '\\x00ff'::bytea AS bytes`;
    expect(row).toEqual({
      big: 9007199254740993n,
      bigs: [1n, 2n],
      at: "2025-01-02 03:04:05.123456+00",
      texts: ["a", "b,c"],
      bytes: Buffer.from([0, 255]),
    });
  });

  test("JSON comes back as it went in, also a string that looks like JSON, and odd keys", async () => {
    const bodies = [
      "123",
      "null",
      'say "x"',
      1.5,
      null,
      [1, "2"],
      JSON.parse('{"__proto__": {"a": 1}, "constructor": 2}'),
    ];
    for (const [index, body] of bodies.entries()) {
      await database.db.insert(values).values({ id: String(index), body: body ?? sql`'null'::jsonb` });
    }
    const rows = await database.db.select().from(values).orderBy(values.id);
    expect(rows.map(({ body }) => JSON.stringify(body))).toEqual(bodies.map((body) => JSON.stringify(body)));
  });

  test("of every kind travel as parameters, alone and in arrays", async () => {
    const [row] =
      await database.sql`SELECT ${true}::boolean AS yes, ${[true, false, null]}::boolean[] AS bools,
      ${2n ** 62n}::bigint AS big, ${[1n, -1n]}::bigint[] AS bigs, ${0.5}::float8 AS half,
      ${new Date(0)}::timestamptz AS at, ${[new Date(0)]}::timestamptz[] AS ats,
      ${new Uint8Array([1])}::bytea AS bytes, ${[Buffer.from([2])]}::bytea[] AS blobs,
      ${["NULL", 'a"b\\', null]}::text[] AS texts, ${[]}::int[] AS none, ${null}::text AS nothing,
      ${[{ a: "é" }]}::jsonb[] AS objects`;
    expect(row).toEqual({
      yes: true,
      bools: [true, false, null],
      big: 2n ** 62n,
      bigs: [1n, -1n],
      half: 0.5,
      at: "1970-01-01 00:00:00+00",
      ats: ["1970-01-01 00:00:00+00"],
      bytes: Buffer.from([1]),
      blobs: [Buffer.from([2])],
      texts: ["NULL", 'a"b\\', null],
      none: [],
      nothing: null,
      objects: ['{"a": "é"}'],
    });
  });

  test("arrays are parameters of set-based statements", async () => {
    const rows = await database.db.execute(
      sql`INSERT INTO notes SELECT * FROM unnest(${sql.param(["x", "y"])}::text[], ${sql.param(['{"a":1}', "2"])}::jsonb[]) RETURNING id`,
    );
    expect(rows.map(({ id }) => id)).toEqual(["x", "y"]);
    expect(rows.count).toBe(2);
  });
});

describe("transactions", () => {
  test("commit together or not at all", async () => {
    await inTransaction(database.db, async (tx) => {
      await tx.insert(values).values({ id: "a" });
      await tx.insert(values).values({ id: "b" });
    });
    const failure = inTransaction(database.db, async (tx) => {
      await tx.insert(values).values({ id: "c" });
      throw new Error("no");
    });
    await expect(failure).rejects.toThrow("no");
    expect(await ids()).toEqual(["a", "b"]);
  });

  test("a violated constraint is told by its code and its name, without the statement's parameters", async () => {
    await database.db.insert(values).values({ id: "a" });
    const error = await database.db
      .insert(values)
      .values({ id: "a", body: "planted-secret" })
      .catch((thrown: unknown) => thrown);
    expect(isUniqueViolation(error)).toBe(true);
    expect(isUniqueViolation(error, "notes_pkey")).toBe(true);
    expect(isUniqueViolation(error, "other")).toBe(false);
    expect(`${JSON.stringify(error)} ${String(error)}`).not.toContain("planted-secret");
  });

  test("nested ones undo their own part alone", async () => {
    await inTransaction(database.db, async (tx) => {
      await tx.insert(values).values({ id: "outer" });
      await tx
        .transaction(async (inner) => {
          await inner.insert(values).values({ id: "inner" });
          await inner.insert(values).values({ id: "outer" });
        })
        .catch(() => {});
      await tx.transaction((inner) => inner.insert(values).values({ id: "second" }));
    });
    expect(await ids()).toEqual(["outer", "second"]);
  });

  test("a failed statement whose error is dropped does not pass for a commit", async () => {
    const result = inTransaction(database.db, async (tx) => {
      await tx.insert(values).values({ id: "a" });
      await tx.execute(sql`SELECT 1 / 0`).catch(() => {});
    });
    await expect(result).rejects.toThrow(/its error was dropped/);
    expect(await ids()).toEqual([]);
  });

  test("what is sent through one that has ended is refused", async () => {
    let late: (() => Promise<unknown>) | undefined;
    await inTransaction(database.db, async (tx) => {
      await tx.insert(values).values({ id: "a" });
      late = async () => await tx.insert(values).values({ id: "late" });
    });
    await expect(late?.()).rejects.toThrow(/has ended/);
    expect(await ids()).toEqual(["a"]);
  });

  test("the loser of a deadlock runs again", async () => {
    await database.sql`INSERT INTO notes (id) VALUES ('a'), ('b')`;
    let runs = 0;
    const held: Promise<void>[] = [];
    const holds: (() => void)[] = [];
    for (let each = 0; each < 2; each += 1) held.push(new Promise((resolve) => holds.push(resolve)));
    const lockBoth = (first: string, second: string, own: number) =>
      inTransaction(database.db, async (tx) => {
        runs += 1;
        await tx.execute(sql`UPDATE notes SET body = '1' WHERE id = ${first}`);
        holds[own]?.();
        await Promise.all(held);
        await tx.execute(sql`UPDATE notes SET body = '2' WHERE id = ${second}`);
      });
    await Promise.all([lockBoth("a", "b", 0), lockBoth("b", "a", 1)]);
    expect(runs).toBe(3);
  });

  test("one that conflicts every time fails with its code after five runs", async () => {
    let runs = 0;
    const error = await inTransaction(database.db, async (tx) => {
      runs += 1;
      await tx.execute(sql`DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$`);
    }).catch((thrown: unknown) => thrown);
    expect(runs).toBe(5);
    expect(isRetryable(error)).toBe(true);
  });
});

describe("the pool", () => {
  test("runs no more at once than it has connections, and all in the end", async () => {
    const pids = await Promise.all(
      Array.from(
        { length: 40 },
        () => database.sql<{ pid: number }>`SELECT pg_backend_pid() AS pid, pg_sleep(0.005)`,
      ),
    );
    expect(new Set(pids.map(([row]) => row?.pid)).size).toBeLessThanOrEqual(4);
  });

  test("a statement over its time is given up, and the caller told that it may come again", async () => {
    const hasty = openDatabase({ url: testDatabase.url, applicationName: "hasty", statementTimeoutMs: 50 });
    const error = await hasty.sql`SELECT pg_sleep(20)`.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(DatabaseUnavailable);
    expect(databaseErrorCode(error)).toBe("57014");
    expect(await hasty.sql`SELECT 1 AS n`).toEqual([{ n: 1 }]);
    await hasty.close();
  });

  test("closing waits for what runs, and refuses what comes", async () => {
    const own = openDatabase({ url: testDatabase.url, applicationName: "closing" });
    const running = own.sql`SELECT pg_sleep(0.1), 1 AS n`;
    await waitFor(async () => {
      const [row] = await database.sql<{
        n: bigint;
      }>`SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event = 'PgSleep'`;
      return row?.n === 1n;
    });
    await own.close();
    expect(await running).toHaveLength(1);
    await expect(own.sql`SELECT 1`).rejects.toThrow(DatabaseUnavailable);
  });

  test("a reserved connection holds its session's locks until it is released", async () => {
    const own = openDatabase({ url: testDatabase.url, applicationName: "reserving" });
    const reserved = await own.reserve();
    await reserved.db.execute(sql`SELECT pg_advisory_lock(77)`);
    const taken = () => database.sql<{ free: boolean }>`SELECT pg_try_advisory_xact_lock(77) AS free`;
    expect(await taken()).toEqual([{ free: false }]);
    await reserved.release();
    await waitFor(async () => (await taken())[0]?.free);
    await own.close();
  });
});
