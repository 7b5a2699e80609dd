import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Sql } from "postgres";
import type { OwnPostgres } from "../helpers/own-postgres.ts";
import { openRawSql } from "../helpers/raw-sql.ts";
import { createTestDatabase } from "../helpers/test-database.ts";
import { type Member, startMember } from "./member.ts";

/** Several real servers on one database. */
export interface Cluster {
  readonly sql: Sql;
  readonly members: readonly Member[];
  readonly operatorToken: string;
  close(): Promise<void>;
}

interface ClusterOptions {
  /** May give a server, by its number, another way to the database. */
  through?: (databaseUrl: string, number: number) => Promise<string>;
  /** Left out: a database in the PostgreSQL of the run. */
  postgres?: OwnPostgres;
}

export async function startCluster(
  size: number,
  env: Record<string, string>,
  { through = async (url) => url, postgres }: ClusterOptions = {},
): Promise<Cluster> {
  const database =
    postgres === undefined ? await createTestDatabase() : { url: postgres.url, drop: () => postgres.close() };
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
