/** One PostgreSQL for a whole run of the tests, with a migrated database that test databases are cloned from. */
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { openDatabase } from "../../src/storage/database.ts";
import { withDatabase } from "../../src/storage/database-url.ts";
import { EmbeddedPostgres } from "../../src/storage/embedded-postgres.ts";
import { migrateDatabase } from "../../src/storage/migrate.ts";

export const TEMPLATE = "drover_template";

declare module "vitest" {
  interface ProvidedContext {
    /** The address of the maintenance database of the run's PostgreSQL. */
    postgresUrl: string;
  }
}

export default async function startPostgres(project: TestProject): Promise<() => Promise<void>> {
  const dataDir = await mkdtemp(join(tmpdir(), "drover-test-"));
  // Closed folders make a root server keep its database elsewhere; see tests/storage/as-root.test.ts for that.
  await chmod(dataDir, 0o755);
  const postgres = new EmbeddedPostgres({
    dataDir,
    logger: { info() {}, warn: console.warn, error: console.error },
    // The databases end with the run. The rest is what a server has.
    settings: { fsync: "off", synchronous_commit: "off", full_page_writes: "off" },
  });
  await postgres.start();
  const { url } = postgres.connection;
  const database = openDatabase({ url, applicationName: "tests" });
  await database.sql`CREATE DATABASE drover_template`;
  await database.close();
  await migrateDatabase({ url: withDatabase(url, TEMPLATE) });
  project.provide("postgresUrl", url);
  return async () => {
    await postgres.stop();
    await rm(dataDir, { recursive: true, force: true });
  };
}
