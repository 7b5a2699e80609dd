import { sql } from "drizzle-orm";
import type { Database, Db, ReservedConnection } from "./database.ts";

/**
 * PostgreSQL ends the connection of a holder that says nothing for so long: a process that is frozen keeps its
 * connections, and with them its lock. `seize` has to be called well within it.
 */
const SILENCE_MS = 3_500;

/**
 * A lock that one server at a time holds, and the connection that holds it. What its holder writes through that
 * connection is fenced: the lock and the connection end together, so that a holder which was frozen past its time finds
 * nothing to write through.
 */
export class LeaderLock {
  readonly #database: Database;
  readonly #key: bigint;
  #connection: ReservedConnection | undefined;
  #held = false;

  /** `key` stands for this lock and for no other in the database. */
  constructor(database: Database, key: bigint) {
    this.#database = database;
    this.#key = key;
  }

  /** Takes the lock, or keeps it; undefined while another server holds it. One call at a time. */
  async seize(): Promise<Db | undefined> {
    if (this.#connection?.lost.aborted) await this.release();
    this.#connection ??= await this.#connect();
    const { db } = this.#connection;
    if (!this.#held) {
      const [row] = await db.execute<{ held: boolean }>(
        sql`SELECT pg_try_advisory_lock(${String(this.#key)}::bigint) AS held`,
      );
      this.#held = row?.held === true;
    }
    return this.#held ? db : undefined;
  }

  /** Gives the lock to whoever comes next. */
  async release(): Promise<void> {
    const connection = this.#connection;
    this.#connection = undefined;
    this.#held = false;
    await connection?.release();
  }

  async #connect(): Promise<ReservedConnection> {
    const connection = await this.#database.reserve();
    try {
      for (const setting of ["idle_session_timeout", "idle_in_transaction_session_timeout"]) {
        await connection.db.execute(sql`SELECT set_config(${setting}, ${String(SILENCE_MS)}, false)`);
      }
      return connection;
    } catch (error) {
      await connection.release();
      throw error;
    }
  }
}
