/** Brings a database's schema up to what this build expects; several servers may start at once. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { Connection } from "./connection.ts";
import { StorageStartError } from "./database-error.ts";
import { parseDatabaseUrl } from "./database-url.ts";

/** One file of SQL; `tag` is its name without `.sql`, such as `0001_guards`. */
interface Migration {
  tag: string;
  hash: string;
  statements: string[];
}

/** The compiled package carries the folder beside the compiled file, as the checkout does beside the source. */
const OWN_MIGRATIONS = new URL("./migrations/", import.meta.url);
/** Any constant that no other advisory lock in the database uses. */
const LOCK_KEY = 7_264_313_001n;
const CONNECT_TIMEOUT_MS = 10_000;

/**
 * Applies the migrations that the database lacks, all of them in one transaction, and resolves to their tags. Whoever
 * comes second waits and then finds nothing to do. Throws StorageStartError on a schema newer than this build.
 */
export async function migrateDatabase(
  connection: { url: string },
  folder: URL = OWN_MIGRATIONS,
): Promise<string[]> {
  const known = await readMigrations(folder);
  const session = await Connection.open({
    address: parseDatabaseUrl(connection.url),
    applicationName: "drover migrate",
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    // Rewriting a large table takes its time, and so does waiting for the server that is at it.
    statementTimeoutMs: 0,
    prepare: false,
  });
  try {
    return await migrateIn(session, known);
  } finally {
    // Also undoes the transaction, when it was not committed.
    await session.close();
  }
}

async function migrateIn(session: Connection, known: Migration[]): Promise<string[]> {
  await session.query("BEGIN", []);
  // A lock of the transaction: it goes with it however we end, and works behind a proxy that lends transactions.
  await session.query("SELECT pg_advisory_xact_lock($1::bigint)", [LOCK_KEY]);
  await session.query(
    `CREATE TABLE IF NOT EXISTS drover_migrations (
       position integer PRIMARY KEY, tag text NOT NULL, hash text NOT NULL,
       applied_at timestamptz NOT NULL DEFAULT clock_timestamp())`,
    [],
  );
  const applied = await session.query(
    "SELECT tag, hash FROM drover_migrations ORDER BY position",
    [],
    "arrays",
  );
  // The columns that the statement above selects.
  const missing = missingMigrations(applied as unknown as [string, string][], known);
  for (const { tag, hash, statements } of missing) {
    for (const statement of statements) await apply(session, tag, statement);
    await session.query(
      "INSERT INTO drover_migrations (position, tag, hash) SELECT count(*), $1, $2 FROM drover_migrations",
      [tag, hash],
    );
  }
  await session.query("COMMIT", []);
  return missing.map(({ tag }) => tag);
}

async function apply(session: Connection, tag: string, statement: string): Promise<void> {
  try {
    await session.query(statement, []);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new StorageStartError(`Migration ${tag} failed and nothing was changed: ${why}.`, error);
  }
}

function missingMigrations(applied: [tag: string, hash: string][], known: Migration[]): Migration[] {
  for (const [position, [tag, hash]] of applied.entries()) {
    const ours = known[position];
    if (ours === undefined) {
      const newest = known.at(-1)?.tag ?? "none";
      throw new StorageStartError(
        `The database has migration ${tag}, and this Drover knows none after ${newest}: ` +
          "a newer Drover has used it. Run that version or a later one, or restore a backup from before.",
      );
    }
    if (ours.tag !== tag || ours.hash !== hash) {
      throw new StorageStartError(
        `The database was migrated by ${tag}, which is not this Drover's ${ours.tag}: ` +
          "it belongs to another version or to another program. Give Drover a database of its own.",
      );
    }
  }
  return known.slice(applied.length);
}

/** In the order of drizzle-kit's journal. */
async function readMigrations(folder: URL): Promise<Migration[]> {
  const journal: { entries: { tag: string }[] } = JSON.parse(
    await readFile(new URL("meta/_journal.json", folder), "utf8"),
  );
  return await Promise.all(
    journal.entries.map(async ({ tag }) => {
      const text = await readFile(new URL(`${tag}.sql`, folder), "utf8");
      const hash = createHash("sha256").update(text).digest("hex");
      const statements = text
        .split("--> statement-breakpoint")
        .filter((statement) => statement.trim() !== "");
      return { tag, hash, statements };
    }),
  );
}
