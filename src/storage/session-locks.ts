import { sql } from "drizzle-orm";
import { Periodic } from "../runtime/periodic.ts";
import type { Database, ReservedConnection } from "./database.ts";

/** PostgreSQL ends the connection after so long a silence, and with it the locks of a process that is frozen. */
const SILENCE_MS = 10_000;
const PING_EVERY_MS = 2_000;

/** A lock that is held until it is released or its connection is lost. */
export interface HeldLock {
  /** Aborted when the lock is lost: whoever held it must write nothing more. */
  readonly lost: AbortSignal;
  /** Safe to call twice. */
  release(): Promise<void>;
}

/**
 * Advisory locks for work that takes a while, any number of them on one connection, which is open while one is held. They
 * end with the process, however that ends.
 */
export class SessionLocks {
  readonly #database: Database;
  readonly #held = new Set<string>();
  #connection: Promise<ReservedConnection> | undefined;
  #ping: Periodic | undefined;
  /** Taking and letting go come one after another, so that a connection is not closed under a lock just taken. */
  #tail: Promise<unknown> = Promise.resolve();

  constructor(database: Database) {
    this.#database = database;
  }

  /** Takes the lock of that key, or answers undefined while anyone holds it, this process included. */
  async take(key: string): Promise<HeldLock | undefined> {
    return await this.#inTurn(async () => {
      if (this.#held.has(key)) return undefined;
      const connection = await this.#open();
      try {
        const [row] = await connection.db.execute<{ held: boolean }>(
          sql`SELECT pg_try_advisory_lock(${lockNumber(key)}) AS held`,
        );
        if (row?.held !== true) return undefined;
        this.#held.add(key);
        return this.#lock(key, connection);
      } finally {
        await this.#closeIfIdle();
      }
    });
  }

  #lock(key: string, connection: ReservedConnection): HeldLock {
    let released = false;
    return {
      lost: connection.lost,
      release: async () => {
        if (released) return;
        released = true;
        await this.#inTurn(async () => {
          this.#held.delete(key);
          if (!connection.lost.aborted) {
            await connection.db.execute(sql`SELECT pg_advisory_unlock(${lockNumber(key)})`).catch(() => {
              // The connection is gone then, and the lock with it.
            });
          }
          await this.#closeIfIdle();
        });
      },
    };
  }

  async #open(): Promise<ReservedConnection> {
    if (this.#connection !== undefined && !(await this.#connection).lost.aborted)
      return await this.#connection;
    await this.#close();
    const opening = this.#connect();
    this.#connection = opening;
    opening.catch(() => {
      if (this.#connection === opening) this.#connection = undefined;
    });
    const connection = await opening;
    // A ping that fails needs no word: the connection is lost then, and says so.
    this.#ping = new Periodic(
      PING_EVERY_MS,
      async () => void (await connection.db.execute(sql`SELECT 1`)),
      () => {},
    );
    await this.#ping.start();
    return connection;
  }

  async #connect(): Promise<ReservedConnection> {
    const connection = await this.#database.reserve();
    try {
      await connection.db.execute(
        sql`SELECT set_config('idle_session_timeout', ${String(SILENCE_MS)}, false)`,
      );
      return connection;
    } catch (error) {
      await connection.release();
      throw error;
    }
  }

  async #closeIfIdle(): Promise<void> {
    if (this.#held.size === 0) await this.#close();
  }

  async #close(): Promise<void> {
    const [connection, ping] = [this.#connection, this.#ping];
    this.#connection = undefined;
    this.#ping = undefined;
    await ping?.stop();
    await (await connection)?.release();
  }

  async #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const turn = this.#tail.then(run);
    this.#tail = turn.catch(() => {});
    return await turn;
  }
}

/** The number of an advisory lock, by a key in words. */
export function lockNumber(key: string) {
  return sql`hashtextextended(${key}, 7264313)`;
}
