/** What drizzle needs of a postgres.js client, on connections of ours. */
import { drizzle, type PostgresJsDatabase, PostgresJsPreparedQuery } from "drizzle-orm/postgres-js";
import type { Sql } from "postgres";
import type { Connection, Rows } from "./connection.ts";
import { DatabaseUnavailable } from "./database-error.ts";
import type { DatabaseTrace } from "./database-trace.ts";
import * as schema from "./schema.ts";

export type Db = PostgresJsDatabase<typeof schema>;

/** Lends a connection for as long as `use` runs. */
export type WithConnection = <T>(use: (connection: Connection) => Promise<T>) => Promise<T>;

type RunQuery = (text: string, parameters: unknown[], rows: "objects" | "arrays") => Promise<Rows>;

// drizzle wraps what a query throws in an error whose message holds the statement's parameters, which belong in no log,
// and hides the refusals that a connection throws. Its method for that is the one that also asks its cache; we have none.
Object.defineProperty(PostgresJsPreparedQuery.prototype, "queryWithCache", {
  value: (_text: string, _parameters: unknown[], query: () => Promise<unknown>) => query(),
});

/** A drizzle database each of whose queries, and each of whose transactions, borrows a connection. */
export function createDb(withConnection: WithConnection, trace?: DatabaseTrace): Db {
  const run: RunQuery = (text, parameters, rows) =>
    withConnection((each) => each.query(text, parameters, rows));
  const client = {
    ...createClient(run),
    begin<T>(use: UseScope<T>): Promise<T> {
      const run = () => runTransaction(withConnection, use);
      return trace === undefined ? run() : trace.transaction(run);
    },
  };
  // drizzle calls `unsafe`, `begin`, `savepoint` and `options` of a client, nothing else.
  return drizzle(client as unknown as Sql, { schema });
}

type Scope = ReturnType<typeof createClient> & {
  savepoint<T>(use: (inner: Scope) => Promise<T>): Promise<T>;
};
type UseScope<T> = (scope: Scope) => Promise<T>;

function createClient(run: RunQuery) {
  return {
    // drizzle sets its parsers here; the connections have theirs.
    options: { parsers: {}, serializers: {} },
    unsafe: (text: string, parameters: unknown[] = []) => ({
      // Sent when it is awaited, since only then it is known whether arrays are wanted, as with postgres.js itself.
      // biome-ignore lint/suspicious/noThenProperty: drizzle awaits what postgres.js calls a pending query
      then: <T>(resolve: (rows: Rows) => T, reject: (error: unknown) => T) =>
        run(text, parameters, "objects").then(resolve, reject),
      values: () => run(text, parameters, "arrays"),
    }),
  };
}

async function runTransaction<T>(withConnection: WithConnection, use: UseScope<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await withConnection((connection) => transact(connection, use));
    } catch (error) {
      // Nothing was sent but BEGIN: an idle connection had been cut without our noticing.
      if (!(error instanceof NotBegun)) throw error;
      if (attempt === 3) throw error.cause;
    }
  }
}

class NotBegun extends Error {}

async function transact<T>(connection: Connection, use: UseScope<T>): Promise<T> {
  await connection.query("BEGIN", []).catch((cause) => {
    throw connection.lost ? new NotBegun("the transaction did not begin", { cause }) : cause;
  });
  let open = true;
  const run: RunQuery = (text, parameters, rows) => {
    // The connection may be in other hands by now.
    if (!open) return Promise.reject(new Error("a query was sent to a transaction that has ended"));
    return connection.query(text, parameters, rows);
  };
  let result: T;
  try {
    result = await use(createScope(run, { savepoints: 0 }));
  } catch (error) {
    open = false;
    // A connection on which not even this works must not be lent again with a transaction open on it.
    await connection.query("ROLLBACK", []).catch(() => connection.destroy());
    throw error;
  }
  open = false;
  await commit(connection);
  return result;
}

function createScope(run: RunQuery, counter: { savepoints: number }): Scope {
  const scope: Scope = {
    ...createClient(run),
    async savepoint(use) {
      counter.savepoints += 1;
      const name = `s${counter.savepoints}`;
      await run(`SAVEPOINT ${name}`, [], "objects");
      try {
        const result = await use(scope);
        await run(`RELEASE SAVEPOINT ${name}`, [], "objects");
        return result;
      } catch (error) {
        await run(`ROLLBACK TO SAVEPOINT ${name}`, [], "objects");
        throw error;
      }
    },
  };
  return scope;
}

async function commit(connection: Connection): Promise<void> {
  if (connection.lost)
    throw new DatabaseUnavailable("the connection to the database was lost", "not-committed");
  let answer: Rows;
  try {
    answer = await connection.query("COMMIT", []);
  } catch (error) {
    if (!connection.lost && !(error instanceof DatabaseUnavailable)) throw error;
    connection.destroy();
    const message = "the connection to the database was lost while it committed; repeat the same call";
    throw new DatabaseUnavailable(message, "unknown", error);
  }
  // PostgreSQL answers COMMIT with a rollback when a statement had failed whose error nobody passed on.
  if (answer.command === "ROLLBACK")
    throw new Error("a statement of the transaction failed, and its error was dropped");
}
