import { setTimeout as delay } from "node:timers/promises";
import { Connection, type ConnectionSettings } from "./connection.ts";
import { DatabaseUnavailable } from "./database-error.ts";

export interface PoolSettings extends ConnectionSettings {
  maxConnections: number;
  /** For how long a caller waits while the database cannot be reached, before it is told so. */
  patienceMs: number;
}

/** A server that balances connections, or leaks memory in them, sees each of them anew within the hour. */
const LIFETIME_MS = 45 * 60_000;
const WAIT_FOR_FREE_MS = 30_000;
const FIRST_RETRY_MS = 20;
const LAST_RETRY_MS = 500;

export interface PoolUse {
  readonly lent: number;
  readonly idle: number;
  readonly waiting: number;
}

interface Waiter {
  admit(): void;
  refuse(error: Error): void;
}

/** Lends connections, at most so many at once, in the order of asking. Lost ones are replaced when they are needed. */
export class ConnectionPool {
  readonly #settings: PoolSettings;
  readonly #idle: Connection[] = [];
  readonly #waiting: Waiter[] = [];
  readonly #lent = new Set<Connection>();
  #free: number;
  #closed = false;
  #drained: (() => void) | undefined;

  constructor(settings: PoolSettings) {
    this.#settings = settings;
    this.#free = settings.maxConnections;
  }

  /** Connections that are lent and that are idle, and callers that wait for one. */
  get use(): PoolUse {
    return { lent: this.#lent.size, idle: this.#idle.length, waiting: this.#waiting.length };
  }

  /** Resolves to a connection that is the caller's until `release`; fails with DatabaseUnavailable. */
  async lend(): Promise<Connection> {
    await this.#admission();
    try {
      const connection = this.#takeIdle() ?? (await this.#open());
      this.#lent.add(connection);
      return connection;
    } catch (error) {
      this.#leave();
      throw error;
    }
  }

  /** Takes a connection back; one that is lost, old, or not fit for another use any more, is dropped. */
  release(connection: Connection): void {
    if (!this.#lent.delete(connection)) return;
    const old = performance.now() - connection.openedAtMs > LIFETIME_MS;
    if (this.#closed || old) void connection.close();
    else if (!connection.lost) this.#idle.push(connection);
    this.#leave();
  }

  /** Waits for the connections that are lent, for at most `graceMs`, and closes all. */
  async close(graceMs: number): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const refusal = new DatabaseUnavailable("the server is stopping", "not-committed");
    for (const waiter of this.#waiting.splice(0)) waiter.refuse(refusal);
    if (this.#free < this.#settings.maxConnections) {
      const grace = new AbortController();
      const drained = new Promise<void>((resolve) => {
        this.#drained = resolve;
      });
      const late = delay(graceMs, undefined, { signal: grace.signal }).catch(() => {});
      await Promise.race([drained, late]);
      grace.abort();
    }
    for (const connection of this.#lent) connection.destroy();
    await Promise.all(this.#idle.splice(0).map((connection) => connection.close()));
  }

  #admission(): Promise<void> {
    if (this.#closed)
      return Promise.reject(new DatabaseUnavailable("the server is stopping", "not-committed"));
    if (this.#free > 0) {
      this.#free -= 1;
      return Promise.resolve();
    }
    return new Promise((admit, refuse) => {
      const waiter: Waiter = {
        admit: () => {
          clearTimeout(timer);
          admit();
        },
        refuse: (error) => {
          clearTimeout(timer);
          refuse(error);
        },
      };
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
        refuse(new DatabaseUnavailable("no connection to the database became free in time", "not-committed"));
      }, WAIT_FOR_FREE_MS);
      this.#waiting.push(waiter);
    });
  }

  #leave(): void {
    const next = this.#waiting.shift();
    if (next !== undefined) {
      next.admit();
      return;
    }
    this.#free += 1;
    if (this.#free === this.#settings.maxConnections) this.#drained?.();
  }

  /** The one used last, which the server's caches know best. */
  #takeIdle(): Connection | undefined {
    for (let found = this.#idle.pop(); found !== undefined; found = this.#idle.pop()) {
      if (!found.lost) return found;
    }
    return undefined;
  }

  /** A restart of the database takes half a second: callers wait that long rather than fail. */
  async #open(): Promise<Connection> {
    const giveUpAtMs = performance.now() + this.#settings.patienceMs;
    for (let waitMs = FIRST_RETRY_MS; ; waitMs = Math.min(waitMs * 2, LAST_RETRY_MS)) {
      try {
        return await Connection.open(this.#settings);
      } catch (error) {
        const worthwhile = error instanceof DatabaseUnavailable && !this.#closed;
        if (!worthwhile || performance.now() + waitMs > giveUpAtMs) throw error;
        await delay(waitMs);
      }
    }
  }
}
