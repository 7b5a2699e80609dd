import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { beforeEach, expect, onTestFinished, test } from "vitest";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { migrateDatabase } from "../../src/storage/migrate.ts";
import { createTestDatabase, type TestDatabase } from "../helpers/test-database.ts";

let testDatabase: TestDatabase;
let database: Database;

beforeEach(async () => {
  testDatabase = await createTestDatabase({ empty: true });
  database = openDatabase({ url: testDatabase.url, applicationName: "test" });
  onTestFinished(async () => {
    await database.close();
    await testDatabase.drop();
  });
});

/** A folder of migrations as drizzle-kit writes it, from name to SQL. */
async function folderOf(migrations: Record<string, string>): Promise<URL> {
  const folder = await mkdtemp(join(tmpdir(), "drover-migrations-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  await mkdir(join(folder, "meta"));
  const entries = Object.keys(migrations).map((tag, idx) => ({
    idx,
    version: "7",
    when: idx,
    tag,
    breakpoints: true,
  }));
  await writeFile(join(folder, "meta", "_journal.json"), JSON.stringify({ entries }));
  for (const [tag, text] of Object.entries(migrations)) await writeFile(join(folder, `${tag}.sql`), text);
  return pathToFileURL(`${folder}/`);
}

const first = {
  "0000_first": "CREATE TABLE a (n int);\n--> statement-breakpoint\nINSERT INTO a VALUES (1);",
};
const second = { "0001_second": "INSERT INTO a VALUES (2);" };

async function content(): Promise<unknown[]> {
  return (await database.sql<{ n: number }>`SELECT n FROM a ORDER BY n`).map(({ n }) => n);
}

test("the migrations of this build apply to an empty database, and once", async () => {
  expect((await migrateDatabase(testDatabase)).length).toBeGreaterThan(0);
  expect(await migrateDatabase(testDatabase)).toEqual([]);
});

test("applies in order what is missing", async () => {
  expect(await migrateDatabase(testDatabase, await folderOf(first))).toEqual(["0000_first"]);
  expect(await migrateDatabase(testDatabase, await folderOf({ ...first, ...second }))).toEqual([
    "0001_second",
  ]);
  expect(await content()).toEqual([1, 2]);
});

test("of many that start at once one migrates, and the others find it done", async () => {
  const folder = await folderOf({ ...first, ...second });
  const outcomes = await Promise.all(Array.from({ length: 8 }, () => migrateDatabase(testDatabase, folder)));
  expect(outcomes.filter((tags) => tags.length > 0)).toEqual([["0000_first", "0001_second"]]);
  expect(await content()).toEqual([1, 2]);
});

test("a migration that fails is named, changes nothing, and can be tried again", async () => {
  const broken = await folderOf({
    ...first,
    "0001_second": "INSERT INTO a VALUES (2);\n--> statement-breakpoint\nSELECT 1 / 0;",
  });
  await expect(migrateDatabase(testDatabase, broken)).rejects.toThrow(
    "Migration 0001_second failed and nothing was changed: division by zero.",
  );
  expect(await database.sql`SELECT to_regclass('a') AS a`).toEqual([{ a: null }]);
  await migrateDatabase(testDatabase, await folderOf({ ...first, ...second }));
  expect(await content()).toEqual([1, 2]);
});

test("a schema that is newer than the build is refused, by name", async () => {
  await migrateDatabase(testDatabase, await folderOf({ ...first, ...second }));
  await expect(migrateDatabase(testDatabase, await folderOf(first))).rejects.toThrow(
    /has migration 0001_second, and this Drover knows none after 0000_first: a newer Drover has used it/,
  );
  expect(await content()).toEqual([1, 2]);
});

test("a history that is not this build's is refused", async () => {
  await migrateDatabase(testDatabase, await folderOf(first));
  const other = await folderOf({ "0000_first": "CREATE TABLE b (n int);" });
  await expect(migrateDatabase(testDatabase, other)).rejects.toThrow(/another version or to another program/);
});
