import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { migrateDatabase } from "../../src/storage/migrate.ts";
import { recordLeases } from "../end-to-end/lease-history.ts";
import { enrollAgents } from "../helpers/fleet-api.ts";
import { type OwnPostgres, startOwnPostgres } from "../helpers/own-postgres.ts";
import { openRawSql } from "../helpers/raw-sql.ts";
import { type Member, startMember } from "../servers/member.ts";
import { SoakAgent } from "./agent-process.ts";

/** Leases that end soon, and agents that are soon missed. */
const env = {
  DROVER_HEARTBEAT_INTERVAL: "1s",
  DROVER_OFFLINE_GRACE: "1s",
  DROVER_LEASE: "3s",
  DROVER_RETRY_BACKOFF: "200ms",
};

/** Several servers and agents, as processes, on a PostgreSQL of their own that can be ended. */
export class SoakStage {
  readonly members: readonly Member[];
  readonly agents: readonly SoakAgent[];
  readonly operatorToken: string;
  readonly database: Database;
  readonly postgres: OwnPostgres;
  readonly #ends: (() => Promise<unknown>)[];

  private constructor(
    parts: Pick<SoakStage, "members" | "agents" | "operatorToken" | "database" | "postgres">,
    ends: (() => Promise<unknown>)[],
  ) {
    this.members = parts.members;
    this.agents = parts.agents;
    this.operatorToken = parts.operatorToken;
    this.database = parts.database;
    this.postgres = parts.postgres;
    this.#ends = ends;
  }

  static async set(size: { agents: number; servers: number }, kind: string): Promise<SoakStage> {
    const ends: (() => Promise<unknown>)[] = [];
    try {
      const dataDir = await mkdtemp(join(tmpdir(), "drover-soak-"));
      ends.push(() => rm(dataDir, { recursive: true, force: true }));
      const postgres = await startOwnPostgres();
      ends.push(() => postgres.close());
      const { url } = postgres;
      await migrateDatabase({ url });
      const sql = openRawSql(url, 1);
      await recordLeases(sql).finally(() => sql.end());
      const database = openDatabase({ url, applicationName: "soak", maxConnections: 2 });
      ends.push(() => database.close());
      const members: Member[] = [];
      for (let number = 0; number < size.servers; number += 1) {
        const member = await startMember({ databaseUrl: url, dataDir, env });
        members.push(member);
        ends.push(() => endMember(member));
      }
      const [first] = members;
      const operatorToken = first?.process.operatorToken;
      if (first === undefined || operatorToken === undefined) throw new Error("no server wrote a token");
      const enrolled = await enrollAgents(first.fleet, first.fleet.operator(operatorToken), size.agents);
      const urls = members.map(({ process }) => `http://${process.grpcTarget}`);
      const agents = enrolled.map((agent) => new SoakAgent(agent, kind, urls));
      ends.push(() => Promise.all(agents.map((agent) => agent.kill())));
      return new SoakStage({ members, agents, operatorToken, database, postgres }, ends);
    } catch (error) {
      await endAll(ends);
      throw error;
    }
  }

  async close(): Promise<void> {
    await endAll(this.#ends);
  }
}

async function endMember({ fleet, process }: Member): Promise<void> {
  fleet.close();
  process.signal("SIGCONT");
  if (process.running()) await process.kill();
}

async function endAll(ends: (() => Promise<unknown>)[]): Promise<void> {
  for (const end of ends.splice(0).reverse()) await end();
}
