import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, inject, onTestFinished, test } from "vitest";
import { withDatabase } from "../../src/storage/database-url.ts";
import { createPostgres, type PostgresOptions } from "../../src/storage/postgres.ts";
import { createTestDatabase } from "../helpers/test-database.ts";
import { ask, createDataDir, isRunning, postmasterPid, startServer } from "./server-process.ts";

const logger = { info() {}, warn() {}, error() {} };

async function start(options: Partial<PostgresOptions>) {
  const postgres = createPostgres({ databaseUrl: undefined, dataDir: "", logger, ...options });
  onTestFinished(() => postgres.stop());
  await postgres.start();
  return postgres;
}

test("a database that DATABASE_URL names is used as it is", async () => {
  const { url, drop } = await createTestDatabase({ empty: true });
  onTestFinished(drop);
  const postgres = await start({ databaseUrl: url });
  expect(postgres.connection).toEqual({ url });
  expect(await ask(postgres.connection.url, "SELECT 1 AS n")).toEqual([{ n: 1 }]);
});

test("one that does not exist is told at once, with what to do", async () => {
  const databaseUrl = withDatabase(inject("postgresUrl"), "absent");
  await expect(start({ databaseUrl })).rejects.toThrow(
    /"absent" does not exist\): create that database first/,
  );
});

test("a task beside a server uses the server's PostgreSQL, and leaves it running", async () => {
  const dataDir = await createDataDir();
  const url = await startServer(dataDir).serves;
  await ask(url, "CREATE TABLE kept AS SELECT 1 AS n");
  const beside = await start({ dataDir, besideServer: true });
  expect(await ask(beside.connection.url, "SELECT n FROM kept")).toEqual([{ n: 1 }]);
  await beside.stop();
  expect(isRunning(await postmasterPid(dataDir))).toBe(true);
  await expect(start({ dataDir })).rejects.toThrow(/Another Drover server/);
});

test("a task without a server has a PostgreSQL of its own for as long as it takes", async () => {
  const dataDir = await createDataDir();
  const alone = await start({ dataDir, besideServer: true });
  const pid = await postmasterPid(dataDir);
  expect(await ask(alone.connection.url, "SELECT 1 AS n")).toEqual([{ n: 1 }]);
  await alone.stop();
  await alone.stop();
  expect(isRunning(pid)).toBe(false);
});

test("a data directory whose path is longer than a socket's name may be, or holds odd characters, does as well", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "drover-data-"));
  onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
  await chmod(dataDir, 0o755);
  const far = join(dataDir, "a folder's ünusual näme, 100% of it".repeat(3), "x".repeat(120));
  const postgres = await start({ dataDir: far });
  expect(await ask(postgres.connection.url, "SELECT 1 AS n")).toEqual([{ n: 1 }]);
  // Before the folder goes.
  await postgres.stop();
});
