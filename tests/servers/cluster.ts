import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Sql } from "postgres";
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
