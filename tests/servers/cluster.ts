import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Sql } from "postgres";
import { connectFleet, type Fleet } from "../helpers/fleet-api.ts";
import { openRawSql } from "../helpers/raw-sql.ts";
import { type ServerProcess, startServer } from "../helpers/server-process.ts";
import { createTestDatabase } from "../helpers/test-database.ts";

/** One server of several, which may be another process after a restart and keeps its addresses. */
export interface Member {
  readonly process: ServerProcess;
  readonly fleet: Fleet;
  /** Starts it anew on the same ports; it has to have ended. */
  start(): Promise<void>;
}

/** Several real servers on one database. */
export interface Cluster {
  readonly sql: Sql;
  readonly members: readonly Member[];
  readonly operatorToken: string;
  close(): Promise<void>;
}

/** `through` may give a server, by its number, another way to the database. */
export async function startCluster(
  size: number,
  env: Record<string, string>,
  through: (databaseUrl: string, number: number) => Promise<string> = async (url) => url,
): Promise<Cluster> {
  const database = await createTestDatabase();
  const dataDir = await mkdtemp(join(tmpdir(), "drover-cluster-"));
  const members: Member[] = [];
  for (let number = 0; number < size; number += 1) {
    const databaseUrl = await through(database.url, number);
    members.push(await startMember({ databaseUrl, dataDir, env }));
  }
  const operatorToken = members[0]?.process.operatorToken;
  if (operatorToken === undefined) throw new Error("the first start wrote no operator token");
  const sql = openRawSql(database.url, 4);
  return {
    sql,
    members,
    operatorToken,
    async close() {
      for (const { process, fleet } of members) {
        fleet.close();
        process.signal("SIGCONT");
        if (process.running()) await process.stop();
      }
      await sql.end();
      await database.drop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

async function startMember(options: {
  databaseUrl: string;
  dataDir: string;
  env: Record<string, string>;
}): Promise<Member> {
  let process = await startServer(options);
  const addresses = {
    DROVER_HTTP_ADDR: new URL(process.httpUrl).host,
    DROVER_GRPC_ADDR: process.grpcTarget,
  };
  // The addresses stay, so the connections' own way of coming back is what is tried.
  const fleet = connectFleet(process);
  return {
    get process() {
      return process;
    },
    fleet,
    async start() {
      process = await startServer({ ...options, env: { ...options.env, ...addresses } });
    },
  };
}
