import { sql } from "drizzle-orm";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { DatabaseUnavailable } from "../../src/storage/database-error.ts";
import { LeaderLock } from "../../src/storage/leader-lock.ts";
import { createTestDatabase, type TestDatabase } from "../helpers/test-database.ts";
import { waitFor } from "../helpers/wait-for.ts";

let home: TestDatabase;
let database: Database;
beforeAll(async () => {
  home = await createTestDatabase({ empty: true });
  database = openDatabase({ url: home.url, applicationName: "tests" });
});
afterAll(async () => {
  await database.close();
  await home.drop();
});

test("one at a time holds it, until it gives it back", async () => {
  const [one, two, another] = [1n, 1n, 2n].map((key) => new LeaderLock(database, key));
  if (one === undefined || two === undefined || another === undefined) throw new Error("there are three");
  expect(await one.seize()).toBeDefined();
  expect(await two.seize()).toBeUndefined();
  expect(await one.seize()).toBeDefined();
  expect(await another.seize()).toBeDefined();
  await one.release();
  expect(await two.seize()).toBeDefined();
  expect(await one.seize()).toBeUndefined();
  await Promise.all([one, two, another].map((lock) => lock.release()));
  await one.release();
});

test("a holder that says nothing, as if it were frozen, loses it and all that it would have written", async () => {
  const [frozen, other] = [new LeaderLock(database, 3n), new LeaderLock(database, 3n)];
  const held = await frozen.seize();
  if (held === undefined) throw new Error("nobody else holds it");
  await waitFor(async () => (await other.seize()) !== undefined, { what: "the takeover", timeoutMs: 6_000 });
  await expect(held.execute(sql`SELECT 1`)).rejects.toThrow(DatabaseUnavailable);
  expect(await frozen.seize()).toBeUndefined();
  await Promise.all([frozen.release(), other.release()]);
});

test("a holder that froze in the middle of a transaction loses it too", async () => {
  const [frozen, other] = [new LeaderLock(database, 4n), new LeaderLock(database, 4n)];
  const held = await frozen.seize();
  if (held === undefined) throw new Error("nobody else holds it");
  const written = held.transaction(async (tx) => {
    await tx.execute(sql`SELECT 1`);
    await waitFor(async () => (await other.seize()) !== undefined, {
      what: "the takeover",
      timeoutMs: 6_000,
    });
    await tx.execute(sql`SELECT 1`);
  });
  await expect(written).rejects.toThrow();
  await Promise.all([frozen.release(), other.release()]);
});
