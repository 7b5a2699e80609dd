import { setTimeout as delay } from "node:timers/promises";
import type { PgTransactionConfig } from "drizzle-orm/pg-core";
import { Connection, type Rows } from "./connection.ts";
import { ConnectionPool, type PoolUse } from "./connection-pool.ts";
import { isRetryable } from "./database-error.ts";
import type { DatabaseTrace } from "./database-trace.ts";
import { parseDatabaseUrl } from "./database-url.ts";
import { createDb, type Db } from "./drizzle-client.ts";

export type { Db };

/** A transaction: what is written through it is committed together, or not at all. */
export type Tx = Parameters<Parameters<Db["transaction"]>[0]>[0];

export interface DatabaseSettings {
  /** As libpq reads it; a Unix socket by `?host=/folder`. */
  url: string;
  applicationName: string;
  /** 10 when left out. */
  maxConnections?: number;
  /** After it PostgreSQL gives up a statement; 0 is never, 30 s when left out. */
  statementTimeoutMs?: number;
  /** After it PostgreSQL gives up waiting for a lock; 0 is never, and so it is when left out. */
  lockTimeoutMs?: number;
  /** For how long a call waits for a database that cannot be reached; 3 s when left out. */
  patienceMs?: number;
  /** False where a proxy hands every transaction to another connection; true when left out. */
  prepare?: boolean;
  /** Hears also of what pools apart are asked. */
  trace?: DatabaseTrace | undefined;
}

/** A connection of one's own, for what lives in a session, such as an advisory lock. */
export interface ReservedConnection {
  /** Runs on this connection alone; a transaction must end before anything else is asked of it. */
  readonly db: Db;
  /** Aborted when the connection is lost, and with it everything that its session held. */
  readonly lost: AbortSignal;
  /** Closes the connection, so that nothing of the session is left. */
  release(): Promise<void>;
}

export interface Database {
  readonly db: Db;
  /** One statement with the values as its parameters; rows as objects, bigint as bigint, times and JSON as text. */
  sql<T extends object = Record<string, unknown>>(
    strings: TemplateStringsArray,
    ...values: unknown[]
  ): Promise<T[]>;
  /** What the pool is at. */
  readonly use: PoolUse;
  reserve(): Promise<ReservedConnection>;
  /** A connection beside the pool's that listens to a channel, which has to be an identifier. */
  listen(channel: string, hear: (payload: string) => void): Promise<ReservedConnection>;
  /** Another pool to the same place, so that neither keeps the other waiting; to be closed by itself. */
  apart(settings: Pick<DatabaseSettings, "maxConnections" | "lockTimeoutMs">): Database;
  /** Lets what runs end, then closes every connection. */
  close(): Promise<void>;
}

const CONNECT_TIMEOUT_MS = 5_000;
const CLOSE_GRACE_MS = 5_000;
const TRANSACTION_ATTEMPTS = 5;
const FIRST_BACKOFF_MS = 5;

/**
 * A pool of connections with drizzle on it. It connects when it is first used, and by itself again after a loss; what
 * ran then fails with DatabaseUnavailable.
 */
export function openDatabase(settings: DatabaseSettings): Database {
  const poolSettings = {
    address: parseDatabaseUrl(settings.url),
    applicationName: settings.applicationName,
    maxConnections: settings.maxConnections ?? 10,
    statementTimeoutMs: settings.statementTimeoutMs ?? 30_000,
    lockTimeoutMs: settings.lockTimeoutMs ?? 0,
    patienceMs: settings.patienceMs ?? 3_000,
    prepare: settings.prepare ?? true,
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    trace: settings.trace,
  };
  const pool = new ConnectionPool(poolSettings);
  const withConnection = async <T>(use: (connection: Connection) => Promise<T>): Promise<T> => {
    const connection = await pool.lend();
    try {
      return await use(connection);
    } finally {
      pool.release(connection);
    }
  };
  return {
    db: createDb(withConnection, settings.trace),
    // The caller names the columns that its own statement selects.
    sql: (strings, ...values) =>
      withConnection((each) => each.query(withPlaces(strings), values)) as Promise<Rows & never[]>,
    get use() {
      return pool.use;
    },
    reserve: async () => reservedConnection(pool, await pool.lend(), settings.trace),
    async listen(channel, hear) {
      const connection = await Connection.open({ ...poolSettings, onNotification: hear });
      try {
        await connection.query(`LISTEN ${channel}`, []);
      } catch (error) {
        connection.destroy();
        throw error;
      }
      return reservedConnection(pool, connection, settings.trace);
    },
    apart: (own) => openDatabase({ ...settings, ...own }),
    close: () => pool.close(CLOSE_GRACE_MS),
  };
}

/**
 * Runs `run` in one transaction. When PostgreSQL undid it for the sake of another one (a deadlock, a serialization
 * conflict) it runs again, at most five times in all: whatever `run` does besides its writes must bear that.
 */
export async function inTransaction<T>(
  db: Db,
  run: (tx: Tx) => Promise<T>,
  config?: PgTransactionConfig,
): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await db.transaction(run, config);
    } catch (error) {
      if (attempt === TRANSACTION_ATTEMPTS || !isRetryable(error)) throw error;
      // Jitter, so that the two that met do not meet again.
      await delay(FIRST_BACKOFF_MS * 2 ** attempt * (0.5 + Math.random() / 2));
    }
  }
}

function withPlaces(strings: TemplateStringsArray): string {
  return strings.reduce((text, part, index) => `${text}$${index}${part}`);
}

function reservedConnection(
  pool: ConnectionPool,
  connection: Connection,
  trace: DatabaseTrace | undefined,
): ReservedConnection {
  const loss = new AbortController();
  connection.onLost(() => loss.abort());
  return {
    db: createDb((use) => use(connection), trace),
    lost: loss.signal,
    async release() {
      await connection.close();
      // Without effect on one that the pool did not lend.
      pool.release(connection);
    },
  };
}
