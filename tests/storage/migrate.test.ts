import { readdirSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { findSchemaProblem, migrateDatabase } from "../../src/storage/migrate.ts";
import { holdLock } from "../helpers/stop-point.ts";
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

describe("beside a newer version", () => {
  const contracting = {
    "0002_contract": "-- compatible-from: 0001_second\nDELETE FROM a WHERE n = 1;",
  };

  test("an older server may start again after migrations that only expand", async () => {
    await migrateDatabase(testDatabase, await folderOf({ ...first, ...second }));
    expect(await migrateDatabase(testDatabase, await folderOf(first))).toEqual([]);
    expect(await content()).toEqual([1, 2]);
  });

  test("one that does not know what a contraction needs is refused, by name, and changes nothing", async () => {
    await migrateDatabase(testDatabase, await folderOf({ ...first, ...second, ...contracting }));
    await expect(migrateDatabase(testDatabase, await folderOf(first))).rejects.toThrow(
      /has migration 0002_contract, which only a Drover that knows 0001_second can serve, .* none after 0000_first: a newer/,
    );
    expect(await migrateDatabase(testDatabase, await folderOf({ ...first, ...second }))).toEqual([]);
    expect(await content()).toEqual([2]);
  });

  test("a server that runs finds out when the schema has left it behind", async () => {
    await migrateDatabase(testDatabase);
    expect(await findSchemaProblem(database)).toBeUndefined();
    const add = (tag: string, from: string | null) => database.sql`
      INSERT INTO drover_migrations (position, tag, hash, compatible_from)
      SELECT count(*), ${tag}, 'x', ${from} FROM drover_migrations`;
    await add("9998_expand", null);
    expect(await findSchemaProblem(database)).toBeUndefined();
    await add("9999_contract", "9998_expand");
    expect(await findSchemaProblem(database)).toMatch(/^The database has migration 9999_contract/);
  });

  test("a history that does not tell of compatibility yet is completed", async () => {
    await migrateDatabase(testDatabase, await folderOf(first));
    await database.sql`ALTER TABLE drover_migrations DROP COLUMN compatible_from`;
    expect(await migrateDatabase(testDatabase, await folderOf({ ...first, ...second }))).toEqual([
      "0001_second",
    ]);
  });

  test("a table in use lets others pass, and is changed when it is free", async () => {
    await migrateDatabase(testDatabase, await folderOf(first));
    const lock = await holdLock(testDatabase.url, "LOCK TABLE a IN ACCESS SHARE MODE");
    const changed = migrateDatabase(
      testDatabase,
      await folderOf({ ...first, "0001_second": "ALTER TABLE a ADD COLUMN more int;" }),
    );
    await lock.reached();
    // Whoever comes now stands behind the change, for two seconds at most.
    expect(await content()).toEqual([1]);
    await lock.release();
    expect(await changed).toEqual(["0001_second"]);
  });
});

describe("the migrations of this build", () => {
  const folder = new URL("../../src/storage/migrations/", import.meta.url);
  const tags = readdirSync(folder).filter((name) => name.endsWith(".sql"));

  test.each(tags)("%s expands, or says which servers can serve what it leaves", async (name) => {
    const text = await readFile(new URL(name, folder), "utf8");
    const named = /^-- compatible-from: (\S+)$/m.exec(text)?.[1];
    if (named !== undefined) expect(tags).toContain(`${named}.sql`);
    else expect(text.replaceAll(/^--.*$/gm, "")).not.toMatch(contractions);
  });
});

/** What servers that do not know of it would stumble over. */
const contractions =
  /\b(DROP (TABLE|COLUMN|SCHEMA)|RENAME|SET NOT NULL|SET DATA TYPE|ADD COLUMN (?![^;]*DEFAULT)[^;]*NOT NULL)\b/i;

test("a history that is not this build's is refused", async () => {
  await migrateDatabase(testDatabase, await folderOf(first));
  const other = await folderOf({ "0000_first": "CREATE TABLE b (n int);" });
  await expect(migrateDatabase(testDatabase, other)).rejects.toThrow(/another version or to another program/);
});
