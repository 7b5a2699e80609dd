/**
 * One connection to PostgreSQL: a postgres.js client that may open a single socket and run a single query at a time.
 *
 * postgres.js (3.4.9) has a pool and transactions of its own, and they do not survive the loss of a connection: the
 * ROLLBACK it sends by itself is written to a socket that is gone, which ends the process from a timer that nobody can
 * guard; a write that was scheduled when the socket closed blocks the client for good; and a query queued in a
 * transaction can be run on the next socket, outside of it. All three need a client that goes on after a loss, or a
 * query that is sent after one. So a client lives exactly as long as its socket here, and no query is begun on a lost one.
 */
import type { Socket } from "node:net";
import postgres, { type RowList, type Sql } from "postgres";
import { connectSocket } from "./connection-socket.ts";
import { DatabaseUnavailable, databaseErrorCode, translateError } from "./database-error.ts";
import type { DatabaseTrace } from "./database-trace.ts";
import type { DatabaseAddress } from "./database-url.ts";
import { formatParameter, parsers } from "./wire-values.ts";

export interface ConnectionSettings {
  address: DatabaseAddress;
  applicationName: string;
  connectTimeoutMs: number;
  /** After it PostgreSQL gives up a statement; 0 is never. */
  statementTimeoutMs: number;
  /** After it PostgreSQL gives up waiting for a lock; 0 or undefined is never. */
  lockTimeoutMs?: number;
  /** Whether statements with parameters are prepared, once for each connection. */
  prepare: boolean;
  trace?: DatabaseTrace | undefined;
  /** Hears what is notified on channels that the connection listens to. */
  onNotification?: (payload: string) => void;
}

export type Rows = RowList<(Record<string, unknown> | unknown[])[]>;

/** How much longer than the database's own limit we wait for a word from it before we take the connection for dead. */
const SILENCE_GRACE_MS = 5_000;
/** A server that is frozen in the middle of a transaction keeps its rows locked; other servers need them. */
const IDLE_IN_TRANSACTION_MS = 10_000;
const READ_ONLY = "25006";

export class Connection {
  readonly openedAtMs: number = performance.now();
  readonly #settings: ConnectionSettings;
  readonly #sql: Sql;
  readonly #onLost: (() => void)[] = [];
  #socket: Socket | undefined;
  #lost = false;
  #tail: Promise<unknown> = Promise.resolve();
  #failRunning: ((error: unknown) => void) | undefined;

  private constructor(settings: ConnectionSettings) {
    this.#settings = settings;
    this.#sql = this.#createClient();
  }

  /** Resolves to a connection that has answered once. */
  static async open(settings: ConnectionSettings): Promise<Connection> {
    const connection = new Connection(settings);
    try {
      await connection.query("SELECT 1", []);
      return connection;
    } catch (error) {
      connection.destroy();
      throw error;
    }
  }

  /** True from the moment the socket is gone: what is asked now is refused, and nothing of it reaches the database. */
  get lost(): boolean {
    return this.#lost;
  }

  onLost(hear: () => void): void {
    this.#onLost.push(hear);
  }

  /** Runs one statement after those before it, its parameters as `$1` and on; rows are objects, or arrays when asked. */
  query(text: string, parameters: unknown[], rows: "objects" | "arrays" = "objects"): Promise<Rows> {
    const answer = this.#tail.then(() => this.#run(text, parameters, rows));
    this.#tail = answer.catch(() => {});
    const ended = this.#settings.trace?.beginStatement(text);
    if (ended !== undefined)
      void answer.then(
        () => ended(),
        (error: unknown) => ended(error),
      );
    return answer;
  }

  /** Lets the statement that runs end, then says goodbye. */
  async close(): Promise<void> {
    await this.#tail;
    if (!this.#lost) await this.#sql.end({ timeout: 1 });
    this.destroy();
  }

  /** Drops the socket at once; what runs fails. */
  destroy(): void {
    this.#socket?.destroy();
    this.#markLost();
  }

  async #run(text: string, parameters: unknown[], rows: "objects" | "arrays"): Promise<Rows> {
    if (this.#lost) throw new DatabaseUnavailable("the connection to the database was lost", "not-committed");
    const silence = this.#watchSilence();
    const prepare = this.#settings.prepare && parameters.length > 0;
    // Text and null is what postgres.js may be given for any type.
    const texts = parameters.map(formatParameter) as never[];
    const query = this.#sql.unsafe(text, texts, { prepare });
    try {
      return await new Promise<Rows>((resolve, reject) => {
        // postgres.js leaves a query without an answer when the socket closes at certain moments.
        this.#failRunning = reject;
        // It types a row by its statement, which is only text here.
        (rows === "arrays" ? query.values() : query).then(
          (answer) => resolve(answer as unknown as Rows),
          reject,
        );
      });
    } catch (error) {
      // The server turned into a standby: whoever is its heir answers on a new connection.
      if (databaseErrorCode(error) === READ_ONLY) this.destroy();
      throw translateError(error);
    } finally {
      this.#failRunning = undefined;
      clearTimeout(silence);
    }
  }

  #watchSilence(): NodeJS.Timeout | undefined {
    const { statementTimeoutMs } = this.#settings;
    if (statementTimeoutMs === 0) return undefined;
    // A peer that vanished without a word would otherwise hold the caller for as long as TCP retries: a quarter of an hour.
    return setTimeout(() => this.destroy(), statementTimeoutMs + SILENCE_GRACE_MS);
  }

  #createClient(): Sql {
    const {
      address,
      applicationName,
      connectTimeoutMs,
      statementTimeoutMs,
      lockTimeoutMs = 0,
    } = this.#settings;
    let opened = false;
    const sql = postgres(address.url, {
      ...(address.host !== undefined && { host: address.host }),
      ...(address.port !== undefined && { port: address.port }),
      max: 1,
      idle_timeout: 0,
      // Lifetimes are the pool's business: postgres.js would end a connection in the middle of a transaction.
      max_lifetime: null,
      connect_timeout: connectTimeoutMs / 1000,
      // An option that the types do not declare; see connectSocket.
      socket: async (options: Parameters<typeof connectSocket>[0]) => {
        if (opened) throw new DatabaseUnavailable("the connection to the database was lost", "not-committed");
        opened = true;
        this.#socket = await connectSocket(options, connectTimeoutMs, () => this.#markLost());
        return this.#socket;
      },
      // It would ask at every start, and when the connection is lost at that moment, end the process by a rejection
      // that nobody can catch.
      fetch_types: false,
      onnotice: () => {},
      onclose: () => this.#markLost(),
      // Another option that the types do not declare; postgres.js's own `listen` opens connections that are not ours.
      onnotify: (_channel: string, payload: string) => this.#settings.onNotification?.(payload),
      connection: {
        application_name: applicationName,
        TimeZone: "UTC",
        // Text, since postgres.js leaves out a 0, and PostgreSQL reads a number without a unit as milliseconds.
        statement_timeout: String(statementTimeoutMs),
        lock_timeout: String(lockTimeoutMs),
        idle_in_transaction_session_timeout: String(IDLE_IN_TRANSACTION_MS),
      },
    } as unknown as postgres.Options<Record<string, never>>);
    Object.assign(sql.options.parsers, parsers);
    // Parameters are text already; what is not listed here is sent as it is.
    for (const type of Object.keys(sql.options.serializers)) delete sql.options.serializers[Number(type)];
    return sql;
  }

  #markLost(): void {
    if (this.#lost) return;
    this.#lost = true;
    this.#failRunning?.(new DatabaseUnavailable("the connection to the database was lost", "not-committed"));
    for (const hear of this.#onLost) hear();
  }
}
