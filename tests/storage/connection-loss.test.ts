/** What becomes of callers when PostgreSQL, or a connection to it, goes away under them. */

import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { sql } from "drizzle-orm";
import { afterAll, beforeAll, describe, expect, inject, onTestFinished, test } from "vitest";
import { type Database, inTransaction, openDatabase } from "../../src/storage/database.ts";
import { DatabaseUnavailable, isTransient } from "../../src/storage/database-error.ts";
import { parseDatabaseUrl, socketDatabaseUrl } from "../../src/storage/database-url.ts";
import { createTestDatabase, type TestDatabase } from "../helpers/test-database.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { createDataDir, postmasterPid, startServer } from "./server-process.ts";

let testDatabase: TestDatabase;
let database: Database;
let killer: Database;

beforeAll(async () => {
  testDatabase = await createTestDatabase({ empty: true });
  database = openDatabase({ url: testDatabase.url, applicationName: "victim", maxConnections: 3 });
  killer = openDatabase({ url: testDatabase.url, applicationName: "killer", maxConnections: 2 });
  await database.sql`CREATE TABLE kept (n int)`;
});

afterAll(async () => {
  await database.close();
  await killer.close();
  await testDatabase.drop();
});

async function terminate(applicationName = "victim"): Promise<number> {
  const ended =
    await killer.sql`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = ${applicationName}`;
  return ended.length;
}

/** The ends of the others are there by now, beside what told of one: one turn of the event loop reads them all. */
async function unseenEnds(): Promise<void> {
  await setImmediate();
  await setImmediate();
}

async function recovers(): Promise<void> {
  // Every connection of the pool, and more callers than there are.
  const rows = await Promise.all(
    Array.from({ length: 9 }, (_, n) => database.sql`SELECT ${n}::int AS n, pg_sleep(0.01)`),
  );
  expect(rows.map(([row]) => row?.n)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  const committed = await inTransaction(database.db, (tx) => tx.execute(sql`SELECT 1 AS n`));
  expect([...committed]).toEqual([{ n: 1 }]);
}

describe("a connection that PostgreSQL ends", () => {
  test("while idle is replaced unseen", async () => {
    await recovers();
    expect(await terminate()).toBeGreaterThan(0);
    await unseenEnds();
    await recovers();
  });

  test("in a statement fails it as unavailable", async () => {
    const running = database.sql`SELECT pg_sleep(30)`.catch((thrown: unknown) => thrown);
    await waitFor(
      async () =>
        (
          await killer.sql`SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()`
        ).length === 1,
    );
    await terminate();
    const error = await running;
    expect(error).toBeInstanceOf(DatabaseUnavailable);
    expect(isTransient(error)).toBe(true);
    await unseenEnds();
    await recovers();
  });

  test("in a transaction fails it, whether a statement runs or not, and nothing of it is kept", async () => {
    const error = await inTransaction(database.db, async (tx) => {
      await tx.execute(sql`INSERT INTO kept VALUES (1)`);
      await terminate();
      await tx.execute(sql`INSERT INTO kept VALUES (2)`);
    }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ kind: "unavailable", outcome: "not-committed" });
    await unseenEnds();
    expect(await database.sql`SELECT n FROM kept`).toEqual([]);
    await recovers();
  });

  test("in a transaction that swallows the failure fails the commit", async () => {
    const error = await inTransaction(database.db, async (tx) => {
      await tx.execute(sql`INSERT INTO kept VALUES (1)`);
      await terminate();
      await tx.execute(sql`INSERT INTO kept VALUES (2)`).catch(() => {});
    }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ kind: "unavailable", outcome: "not-committed" });
    await unseenEnds();
    expect(await database.sql`SELECT n FROM kept`).toEqual([]);
  });

  test("in the midst of COMMIT leaves the outcome open, and says so", async () => {
    // A deferred trigger holds COMMIT at the advisory lock that the test has taken.
    await killer.sql`CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(5); RETURN NULL; END'`;
    await killer.sql`CREATE TABLE held (n int)`;
    await killer.sql`CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON held DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold()`;
    const holder = await killer.reserve();
    await holder.db.execute(sql`SELECT pg_advisory_lock(5)`);
    const committing = inTransaction(database.db, (tx) => tx.execute(sql`INSERT INTO held VALUES (1)`)).catch(
      (thrown: unknown) => thrown,
    );
    await waitFor(
      async () =>
        (await killer.sql`SELECT 1 FROM pg_stat_activity WHERE query = 'COMMIT' AND wait_event = 'advisory'`)
          .length === 1,
    );
    await terminate();
    expect(await committing).toMatchObject({ kind: "unavailable", outcome: "unknown" });
    await holder.release();
    await recovers();
  });

  test("held in reserve tells its holder", async () => {
    const reserved = await database.reserve();
    expect(reserved.lost.aborted).toBe(false);
    await terminate();
    await waitFor(() => reserved.lost.aborted);
    await expect(reserved.db.execute(sql`SELECT 1`)).rejects.toThrow(DatabaseUnavailable);
    await reserved.release();
    await recovers();
  });

  test("again and again under load: every call ends, the process lives, no write is kept that was not acknowledged as such", async () => {
    await database.sql`CREATE TABLE load (n int PRIMARY KEY)`;
    const acknowledged: number[] = [];
    const refused = new Map<number, string>();
    let next = 0;
    let done = false;
    const worker = async () => {
      while (!done) {
        const n = next++;
        await inTransaction(database.db, async (tx) => {
          await tx.execute(sql`INSERT INTO load VALUES (${n})`);
          // Enough text that a write is not put off to the next turn.
          await Promise.all([tx.execute(sql`SELECT ${"x".repeat(2000)}::text`), tx.execute(sql`SELECT 1`)]);
        }).then(
          () => acknowledged.push(n),
          (error: unknown) => {
            expect(error).toBeInstanceOf(DatabaseUnavailable);
            refused.set(n, error instanceof DatabaseUnavailable ? error.outcome : "");
          },
        );
      }
    };
    onTestFinished(() => {
      done = true;
    });
    const workers = Array.from({ length: 12 }, worker);
    for (let round = 0; round < 20; round += 1) {
      const before = acknowledged.length;
      await waitFor(() => acknowledged.length > before + 5);
      await terminate();
    }
    done = true;
    await Promise.all(workers);
    const rows = await database.sql<{ n: number }>`SELECT n FROM load`;
    const kept = new Set(rows.map(({ n }) => n));
    expect(refused.size).toBeGreaterThan(10);
    expect(acknowledged.filter((n) => !kept.has(n))).toEqual([]);
    expect([...refused].filter(([n, outcome]) => outcome === "not-committed" && kept.has(n))).toEqual([]);
    await recovers();
  });
});

test("a PostgreSQL that is killed and started again under load is found again by itself", async () => {
  const dataDir = await createDataDir();
  const server = startServer(dataDir);
  const own = openDatabase({
    url: await server.serves,
    applicationName: "restarted",
    maxConnections: 5,
    patienceMs: 10_000,
  });
  onTestFinished(() => own.close());
  let done = false;
  let answers = 0;
  const failures: unknown[] = [];
  const worker = async () => {
    while (!done) {
      await inTransaction(own.db, (tx) => tx.execute(sql`SELECT 1`)).then(
        () => answers++,
        (error: unknown) => failures.push(error),
      );
    }
  };
  onTestFinished(() => {
    done = true;
  });
  const workers = Array.from({ length: 8 }, worker);
  for (const signal of ["SIGKILL", "SIGINT", "SIGQUIT"] as const) {
    const pid = await postmasterPid(dataDir);
    process.kill(pid, signal);
    await waitFor(async () => (await postmasterPid(dataDir)) !== pid, {
      timeoutMs: 20_000,
      what: "a new PostgreSQL",
    });
    const before = answers;
    await waitFor(() => answers > before + 50, { timeoutMs: 20_000, what: "answers from it" });
  }
  done = true;
  await Promise.all(workers);
  expect(failures.filter((error) => !(error instanceof DatabaseUnavailable))).toEqual([]);
});

test("a database that falls silent is given up, and asked again on another connection", async () => {
  // A way to the database on which words can get lost, as on a network that drops packets.
  const { host = "", port = 5432 } = parseDatabaseUrl(inject("postgresUrl"));
  const folder = await mkdtemp(join(tmpdir(), "drover-proxy-"));
  const sockets: Socket[] = [];
  const proxy = createServer((near) => {
    const far = connect({ path: `${host}/.s.PGSQL.${port}` });
    near.pipe(far).pipe(near);
    for (const socket of [near, far]) sockets.push(socket.on("error", () => {}));
  });
  await new Promise<void>((listening) => proxy.listen(`${folder}/.s.PGSQL.5432`, listening));
  const url = socketDatabaseUrl({ folder, port: 5432, user: "drover", database: "postgres" });
  const own = openDatabase({ url, applicationName: "silent", statementTimeoutMs: 100 });
  onTestFinished(async () => {
    await own.close();
    for (const socket of sockets) socket.destroy();
    proxy.close();
    await rm(folder, { recursive: true, force: true });
  });
  expect(await own.sql`SELECT 1 AS n`).toEqual([{ n: 1 }]);
  for (const socket of sockets.splice(0)) socket.unpipe().pause();
  await expect(own.sql`SELECT 2 AS n`).rejects.toThrow(DatabaseUnavailable);
  expect(await own.sql`SELECT 3 AS n`).toEqual([{ n: 3 }]);
});

test("a database that is not there is told in time", async () => {
  const absent = openDatabase({
    url: "postgres://drover@127.0.0.1:1/none",
    applicationName: "absent",
    patienceMs: 100,
  });
  await expect(absent.sql`SELECT 1`).rejects.toThrow("the database cannot be reached");
  await expect(inTransaction(absent.db, (tx) => tx.execute(sql`SELECT 1`))).rejects.toThrow(
    DatabaseUnavailable,
  );
  await absent.close();
});
