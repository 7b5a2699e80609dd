import { setTimeout as delay } from "node:timers/promises";
import type { Service } from "../runtime/service.ts";
import { Connection } from "./connection.ts";
import { DatabaseUnavailable, databaseErrorCode, StorageStartError } from "./database-error.ts";
import { parseDatabaseUrl, socketDatabaseUrl } from "./database-url.ts";
import { EmbeddedPostgres } from "./embedded-postgres.ts";
import { locatePostgres } from "./postgres-location.ts";
import { SUPERUSER } from "./postgres-process.ts";
import { isPostmasterOf, readPostmasterPid } from "./postmaster-pid.ts";
import type { StorageLogger } from "./storage-logger.ts";

/** The PostgreSQL that this server uses, its own or one that was named to it. */
export interface Postgres extends Service {
  /** What openDatabase and migrateDatabase take; known once started. */
  readonly connection: { url: string };
}

export interface PostgresOptions {
  /** DATABASE_URL; without it PostgreSQL runs embedded. */
  databaseUrl: string | undefined;
  dataDir: string;
  logger: StorageLogger;
  /** Use the embedded PostgreSQL of a server that runs now, instead of refusing to start beside it. */
  besideServer?: boolean;
}

/** PostgreSQL 14 is the oldest that its makers still care for. */
const OLDEST_VERSION = 14;
const CONNECT_TIMEOUT_MS = 5_000;
const REACHABLE_WITHIN_MS = 30_000;
const RETRY_MS = 500;

/** Chooses between the PostgreSQL that DATABASE_URL names and an embedded one; `start` throws StorageStartError. */
export function createPostgres({ databaseUrl, dataDir, logger, besideServer }: PostgresOptions): Postgres {
  if (databaseUrl !== undefined) return new NamedPostgres(databaseUrl, logger);
  const embedded = new EmbeddedPostgres({ dataDir, logger });
  return besideServer === true ? new BorrowedPostgres(embedded, dataDir, logger) : embedded;
}

/** A PostgreSQL that someone else runs. Only its being there is waited for. */
class NamedPostgres implements Postgres {
  readonly connection: { url: string };
  readonly #logger: StorageLogger;

  constructor(url: string, logger: StorageLogger) {
    this.connection = { url };
    this.#logger = logger;
  }

  async start(): Promise<void> {
    const giveUpAtMs = performance.now() + REACHABLE_WITHIN_MS;
    for (let told = false; ; told = true) {
      try {
        return await askVersion(this.connection.url);
      } catch (error) {
        // In a fleet of containers the database often comes up after its clients.
        if (!(error instanceof DatabaseUnavailable) || performance.now() > giveUpAtMs) throw explain(error);
        if (!told)
          this.#logger.warn(
            {},
            "the database that DATABASE_URL names cannot be reached yet; it is waited for",
          );
        await delay(RETRY_MS);
      }
    }
  }

  async stop(): Promise<void> {}
}

/** The embedded PostgreSQL of the server that runs; one of our own for as long as we need it when none does. */
class BorrowedPostgres implements Postgres {
  readonly #embedded: EmbeddedPostgres;
  readonly #dataDir: string;
  readonly #logger: StorageLogger;
  #connection: { url: string } | undefined;

  constructor(embedded: EmbeddedPostgres, dataDir: string, logger: StorageLogger) {
    this.#embedded = embedded;
    this.#dataDir = dataDir;
    this.#logger = logger;
  }

  get connection(): { url: string } {
    return this.#connection ?? this.#embedded.connection;
  }

  async start(): Promise<void> {
    this.#connection = await findRunningPostgres(this.#dataDir, this.#logger);
    if (this.#connection === undefined) await this.#embedded.start();
  }

  async stop(): Promise<void> {
    await this.#embedded.stop();
  }
}

/** Asks the PostgreSQL that DATABASE_URL names once whether it can be used; throws StorageStartError. */
export async function checkNamedPostgres(url: string): Promise<void> {
  try {
    await askVersion(url);
  } catch (error) {
    throw explain(error);
  }
}

async function askVersion(url: string): Promise<void> {
  const connection = await Connection.open({
    address: parseDatabaseUrl(url),
    applicationName: "drover",
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    statementTimeoutMs: CONNECT_TIMEOUT_MS,
    prepare: false,
  });
  try {
    const [row] = await connection.query("SHOW server_version_num", [], "arrays");
    const version = Math.floor(Number(Object.values(row ?? [])[0]) / 10_000);
    if (version >= OLDEST_VERSION) return;
    throw new StorageStartError(
      `DATABASE_URL names a PostgreSQL ${version}; Drover needs ${OLDEST_VERSION} or newer.`,
    );
  } finally {
    await connection.close();
  }
}

/** Where the embedded PostgreSQL of a data directory listens; undefined where none runs. */
export async function findRunningPostgres(
  dataDir: string,
  logger: StorageLogger,
): Promise<{ url: string } | undefined> {
  const { dataFolder } = await locatePostgres(dataDir, logger);
  const found = await readPostmasterPid(dataFolder);
  if (found?.ready !== true || !(await isPostmasterOf(found.pid, dataFolder))) return undefined;
  const { socketFolder: folder, port } = found;
  return { url: socketDatabaseUrl({ folder, port, user: SUPERUSER, database: "postgres" }) };
}

function explain(error: unknown): unknown {
  if (error instanceof StorageStartError) return error;
  const code = databaseErrorCode(error) ?? "";
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const said = cause instanceof Error ? cause.message : String(cause);
  const cure =
    cures[code] ??
    (code.startsWith("28") ? cures["28P01"] : undefined) ??
    "check DATABASE_URL and the server that it names";
  return new StorageStartError(
    `The database that DATABASE_URL names cannot be used (${said}): ${cure}.`,
    error,
  );
}

const cures: Record<string, string> = {
  ECONNREFUSED: "start PostgreSQL there, or correct host and port in DATABASE_URL",
  ENOTFOUND: "correct the host in DATABASE_URL, which no name service knows",
  EAI_AGAIN: "look at this machine's name service, or give a numeric address in DATABASE_URL",
  "28P01": "check the user and the password in DATABASE_URL, and pg_hba.conf there",
  "3D000": "create that database first, or name another one",
  "42501": "grant the user of DATABASE_URL what it lacks",
};
