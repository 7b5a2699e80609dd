import { existsSync } from "node:fs";
import type { Config } from "../config.ts";
import type { Logger } from "../observability/logger.ts";
import { type Database, openDatabase } from "../storage/database.ts";
import { databaseErrorCode, StorageStartError } from "../storage/database-error.ts";
import { countMissingMigrations, findSchemaProblem } from "../storage/migrate.ts";
import { checkNamedPostgres, findRunningPostgres } from "../storage/postgres.ts";
import { describeClock } from "./clock.ts";
import { error, type Finding, ok, skipped, warning } from "./finding.ts";

/** The database, its schema and its clock, as they are: nothing is started, made or migrated. */
export async function checkDatabase(config: Config, logger: Logger): Promise<Finding[]> {
  let url: string | undefined;
  try {
    url = await findDatabase(config, logger);
  } catch (problem) {
    return [databaseProblem(problem)];
  }
  if (url === undefined) {
    return [
      skipped(
        "database",
        `The embedded PostgreSQL in ${config.dataDir} does not run; it comes with its server.`,
      ),
    ];
  }
  const database = openDatabase({ url, applicationName: "drover doctor", maxConnections: 1 });
  try {
    return [
      await checkDurability(database, config),
      await checkMigrations(database),
      await checkClock(database),
    ];
  } catch (problem) {
    return [databaseProblem(problem)];
  } finally {
    await database.close();
  }
}

/** Where the database answers; undefined for an embedded one that does not run. */
async function findDatabase({ databaseUrl, dataDir }: Config, logger: Logger): Promise<string | undefined> {
  if (databaseUrl !== undefined) {
    await checkNamedPostgres(databaseUrl);
    return databaseUrl;
  }
  // Looking for it where nothing is would make the folder.
  if (!existsSync(dataDir)) return undefined;
  return (await findRunningPostgres(dataDir, logger))?.url;
}

function databaseProblem(problem: unknown): Finding {
  const words = problem instanceof Error ? problem.message : String(problem);
  if (!(problem instanceof StorageStartError))
    return error(
      "database",
      `The database gives no answer (${words}).`,
      "Look at its log, and whether it has room.",
    );
  // Such a sentence ends with its cure.
  const split = /^(.*?)[:;] ([^:;]+)\.$/s.exec(words);
  return split?.[1] === undefined || split[2] === undefined
    ? error("database", words, "See what the message says.")
    : error("database", `${split[1]}.`, `${split[2].charAt(0).toUpperCase()}${split[2].slice(1)}.`);
}

async function checkDurability(database: Database, { databaseUrl }: Config): Promise<Finding> {
  const [row] = await database.sql<{ version: string; fsync: string; commits: string }>`
    SELECT current_setting('server_version') AS version, current_setting('fsync') AS fsync,
           current_setting('synchronous_commit') AS commits`;
  const { version = "", fsync = "", commits = "" } = row ?? {};
  const where = databaseUrl === undefined ? "embedded" : "the one that DATABASE_URL names";
  for (const [setting, value] of [
    ["fsync", fsync],
    ["synchronous_commit", commits],
  ])
    if (value === "off") {
      return warning(
        "database",
        `PostgreSQL ${version}, ${where}, has ${setting} off: what was acknowledged can be lost when it ends.`,
        `Set ${setting} to on there; Drover is measured with it on.`,
      );
    }
  return ok("database", `PostgreSQL ${version}, ${where}, answers.`);
}

async function checkMigrations(database: Database): Promise<Finding> {
  let problem: string | undefined;
  try {
    problem = await findSchemaProblem(database);
  } catch (error) {
    if (databaseErrorCode(error) !== UNDEFINED_TABLE) throw error;
    return warning(
      "migrations",
      "The database is empty.",
      "Start `drover serve`, which makes the schema, or run `drover db migrate`.",
    );
  }
  if (problem !== undefined) return error("migrations", ...halves(problem));
  const missing = await countMissingMigrations(database);
  if (missing === 0) return ok("migrations", "The database's schema is up to date.");
  return warning(
    "migrations",
    `The database lacks ${missing} ${missing === 1 ? "migration" : "migrations"}.`,
    "Start this version of `drover serve`, or run `drover db migrate`.",
  );
}

const UNDEFINED_TABLE = "42P01";

/** A problem's last sentence says what to do about it. */
function halves(text: string): [message: string, cure: string] {
  const at = text.lastIndexOf(". ") + 1;
  return [text.slice(0, at), text.slice(at).trim()];
}

async function checkClock(database: Database): Promise<Finding> {
  const askedMs = Date.now();
  const [row] = await database.sql<{ ms: string }>`
    SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint::text AS ms`;
  const tookMs = Date.now() - askedMs;
  const aheadMs = Number(row?.ms) - (askedMs + tookMs / 2);
  return describeClock("database clock", "The database's clock", aheadMs, tookMs / 2);
}
