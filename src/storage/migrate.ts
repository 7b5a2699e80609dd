/**
 * Brings a database's schema up to what this build expects; several servers may start at once, and servers of the version
 * before serve on beside them.
 *
 * A migration expands: it adds tables, indexes, columns that older servers need not know, and those go on serving, and
 * may start again. One that takes something away says so in its file, by a line
 *
 *     -- compatible-from: 0012_some_migration
 *
 * which names the oldest migration that a server must know to serve the schema from then on: the release that brought it
 * stopped using what is taken away now.
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { Connection } from "./connection.ts";
import type { Database } from "./database.ts";
import { databaseErrorCode, StorageStartError } from "./database-error.ts";
import { parseDatabaseUrl } from "./database-url.ts";

/** One file of SQL; `tag` is its name without `.sql`, such as `0001_guards`. */
interface Migration {
  tag: string;
  hash: string;
  statements: string[];
  /** Tag of the oldest migration that a server must know after this one; undefined: any server that knew its schema before. */
  compatibleFrom: string | undefined;
}

/** A migration that the database has. */
interface Applied {
  tag: string;
  hash: string;
  compatibleFrom: string | undefined;
}

/** The compiled package carries the folder beside the compiled file, as the checkout does beside the source. */
const OWN_MIGRATIONS = new URL("./migrations/", import.meta.url);
/** Any constant that no other advisory lock in the database uses. */
const LOCK_KEY = 7_264_313_001n;
const CONNECT_TIMEOUT_MS = 10_000;
/** For how long a change waits for a table that is in use: everybody else waits behind it meanwhile. */
const TABLE_LOCK_TIMEOUT_MS = 2_000;
const LOCK_ATTEMPTS = 30;
const PAUSE_MS = 1_000;
const LOCK_NOT_AVAILABLE = "55P03";

/**
 * Applies the migrations that the database lacks, all of them in one transaction, and resolves to their tags. Whoever
 * comes second waits and then finds nothing to do. Throws StorageStartError on a schema that this build cannot serve.
 */
export async function migrateDatabase(
  connection: { url: string },
  folder: URL = OWN_MIGRATIONS,
): Promise<string[]> {
  const known = await readMigrations(folder);
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await migrateOnce(connection, known);
    } catch (error) {
      // Servers at work hold their tables for moments; a long look at one may hold it for longer.
      if (databaseErrorCode(error) !== LOCK_NOT_AVAILABLE || attempt === LOCK_ATTEMPTS) throw error;
      await delay(PAUSE_MS);
    }
  }
}

/** What keeps this build from serving the schema as it is now, as a sentence; undefined where nothing does. */
export async function findSchemaProblem(database: Pick<Database, "sql">): Promise<string | undefined> {
  ownMigrations ??= readMigrations(OWN_MIGRATIONS);
  const known = await ownMigrations;
  const rows = await database.sql<{ tag: string; hash: string; compatible_from: string | null }>`
    SELECT tag, hash, compatible_from FROM drover_migrations ORDER BY position`;
  return findProblem(rows.map(appliedOf), known);
}

/** How many of this build's migrations the database lacks. */
export async function countMissingMigrations(database: Pick<Database, "sql">): Promise<number> {
  ownMigrations ??= readMigrations(OWN_MIGRATIONS);
  const [row] = await database.sql<{ count: string }>`SELECT count(*)::text AS count FROM drover_migrations`;
  return Math.max(0, (await ownMigrations).length - Number(row?.count ?? 0));
}

let ownMigrations: Promise<Migration[]> | undefined;

async function migrateOnce(connection: { url: string }, known: Migration[]): Promise<string[]> {
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
  // After the lock above, which may well take longer.
  await session.query(`SET LOCAL lock_timeout = ${TABLE_LOCK_TIMEOUT_MS}`, []);
  await addCompatibility(session);
  const rows = await session.query(
    "SELECT tag, hash, compatible_from FROM drover_migrations ORDER BY position",
    [],
  );
  // The columns that the statement above selects.
  const applied = (rows as unknown as AppliedRow[]).map(appliedOf);
  const problem = findProblem(applied, known);
  if (problem !== undefined) throw new StorageStartError(problem);
  const missing = known.slice(applied.length);
  for (const { tag, hash, statements, compatibleFrom } of missing) {
    for (const statement of statements) await apply(session, tag, statement);
    await session.query(
      `INSERT INTO drover_migrations (position, tag, hash, compatible_from)
       SELECT count(*), $1, $2, $3 FROM drover_migrations`,
      [tag, hash, compatibleFrom ?? null],
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

/** The table is older than this column. Looked for first: to add it takes a lock that those who read it wait for. */
async function addCompatibility(session: Connection): Promise<void> {
  const [column] = await session.query(
    `SELECT 1 FROM pg_attribute
     WHERE attrelid = 'drover_migrations'::regclass AND attname = 'compatible_from' AND NOT attisdropped`,
    [],
  );
  if (column === undefined)
    await session.query("ALTER TABLE drover_migrations ADD COLUMN compatible_from text", []);
}

interface AppliedRow {
  tag: string;
  hash: string;
  compatible_from: string | null;
}

function appliedOf({ tag, hash, compatible_from }: AppliedRow): Applied {
  return { tag, hash, compatibleFrom: compatible_from ?? undefined };
}

function findProblem(applied: Applied[], known: Migration[]): string | undefined {
  for (const [position, { tag, hash }] of applied.entries()) {
    const ours = known[position];
    if (ours === undefined) break;
    if (ours.tag !== tag || ours.hash !== hash)
      return (
        `The database was migrated by ${tag}, which is not this Drover's ${ours.tag}: ` +
        "it belongs to another version or to another program. Give Drover a database of its own."
      );
  }
  const newer = applied.slice(known.length).find(({ compatibleFrom }) => !knows(known, compatibleFrom));
  if (newer === undefined) return undefined;
  const newest = known.at(-1)?.tag ?? "none";
  return (
    `The database has migration ${newer.tag}, which only a Drover that knows ${newer.compatibleFrom} can serve, and ` +
    `this one knows none after ${newest}: a newer Drover has used it. ` +
    "Run that version or a later one, or restore a backup from before."
  );
}

function knows(known: Migration[], tag: string | undefined): boolean {
  return tag === undefined || known.some((migration) => migration.tag === tag);
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
      const compatibleFrom = /^-- compatible-from: (\S+)$/m.exec(text)?.[1];
      return { tag, hash, statements, compatibleFrom };
    }),
  );
}
