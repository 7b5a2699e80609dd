import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Sql } from "postgres";
import { connectFleet, type Fleet, type OperatorApi } from "./fleet-api.ts";
import { openRawSql } from "./raw-sql.ts";
import { type ServerOptions, type ServerProcess, startServer } from "./server-process.ts";
import { createTestDatabase } from "./test-database.ts";

/** A database of its own with a real server on it, which can be killed and started again. */
export interface Stage {
  readonly databaseUrl: string;
  /** Straight to the database, past the server. */
  readonly sql: Sql;
  readonly server: ServerProcess;
  readonly fleet: Fleet;
  /** With the server's own operator token. */
  readonly operator: OperatorApi;
  readonly operatorToken: string;
  /** Kills the server where it still runs and starts another one on the same database; addresses change. */
  restart(): Promise<void>;
  /** Starts another server beside it, on the same database; to be closed before the stage is. */
  replica(): Promise<{ readonly fleet: Fleet; close(): Promise<void> }>;
  close(): Promise<void>;
}

/** `through` gives the server another way to the database than the test has. */
export type StageOptions = Pick<ServerOptions, "root" | "env"> & {
  through?: (databaseUrl: string) => Promise<string>;
};

export async function setStage(options: StageOptions = {}): Promise<Stage> {
  const { through, ...serverOptions } = options;
  const database = await createTestDatabase();
  const dataDir = await mkdtemp(join(tmpdir(), "drover-stage-"));
  const sql = openRawSql(database.url, 4);
  const databaseUrl = (await through?.(database.url)) ?? database.url;
  const start = async () => await startServer({ ...serverOptions, databaseUrl, dataDir });
  let server = await start();
  let fleet = connectFleet(server);
  const operatorToken = server.operatorToken;
  if (operatorToken === undefined) throw new Error("the first start wrote no operator token");
  let operator = fleet.operator(operatorToken);
  return {
    databaseUrl: database.url,
    sql,
    operatorToken,
    get server() {
      return server;
    },
    get fleet() {
      return fleet;
    },
    get operator() {
      return operator;
    },
    async restart() {
      if (server.running()) await server.kill();
      fleet.close();
      server = await start();
      fleet = connectFleet(server);
      operator = fleet.operator(operatorToken);
    },
    async replica() {
      const other = await startServer({ ...serverOptions, databaseUrl });
      const otherFleet = connectFleet(other);
      return {
        fleet: otherFleet,
        async close() {
          otherFleet.close();
          await other.stop();
        },
      };
    },
    async close() {
      fleet.close();
      if (server.running()) await server.stop();
      await sql.end();
      await database.drop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
