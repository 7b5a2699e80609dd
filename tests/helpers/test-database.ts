import { randomBytes } from "node:crypto";
import { inject } from "vitest";
import { Connection } from "../../src/storage/connection.ts";
import { parseDatabaseUrl, withDatabase } from "../../src/storage/database-url.ts";
import { TEMPLATE } from "./postgres-server.ts";

export interface TestDatabase {
  /** Good for openDatabase and as the DATABASE_URL of a child process. */
  url: string;
  /** Ends every connection to it and removes it; what is not dropped goes with the run. */
  drop(): Promise<void>;
}

/** A database of one's own with the migrated schema; `empty` leaves the schema out. */
export async function createTestDatabase({ empty = false }: { empty?: boolean } = {}): Promise<TestDatabase> {
  const name = `test_${randomBytes(6).toString("hex")}`;
  await inMaintenance(`CREATE DATABASE ${name} TEMPLATE ${empty ? "template0" : TEMPLATE}`);
  return {
    url: withDatabase(inject("postgresUrl"), name),
    drop: () => inMaintenance(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`),
  };
}

async function inMaintenance(statement: string): Promise<void> {
  const connection = await Connection.open({
    address: parseDatabaseUrl(inject("postgresUrl")),
    applicationName: "tests",
    connectTimeoutMs: 10_000,
    statementTimeoutMs: 0,
    prepare: false,
  });
  try {
    await connection.query(statement, []);
  } finally {
    await connection.close();
  }
}
