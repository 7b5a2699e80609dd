import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { EmbeddedPostgres } from "../../src/storage/embedded-postgres.ts";
import { migrateDatabase } from "../../src/storage/migrate.ts";
import { recordLeases } from "../end-to-end/lease-history.ts";
import { enrollAgents } from "../helpers/fleet-api.ts";
import { openRawSql } from "../helpers/raw-sql.ts";
import { waitFor } from "../helpers/wait-for.ts";
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
  readonly url: string;
  readonly #ends: (() => Promise<unknown>)[];

  private constructor(
    parts: Pick<SoakStage, "members" | "agents" | "operatorToken" | "database" | "url">,
    ends: (() => Promise<unknown>)[],
  ) {
    this.members = parts.members;
    this.agents = parts.agents;
    this.operatorToken = parts.operatorToken;
    this.database = parts.database;
    this.url = parts.url;
    this.#ends = ends;
  }

  static async set(size: { agents: number; servers: number }, kind: string): Promise<SoakStage> {
    const ends: (() => Promise<unknown>)[] = [];
    try {
      const dataDir = await mkdtemp(join(tmpdir(), "drover-soak-"));
      ends.push(() => rm(dataDir, { recursive: true, force: true }));
      // As root PostgreSQL runs as somebody else, who has to get there.
      await chmod(dataDir, 0o755);
      const postgres = new EmbeddedPostgres({ dataDir, logger: { info() {}, warn() {}, error() {} } });
      await postgres.start();
      ends.push(() => postgres.stop());
      const { url } = postgres.connection;
      await migrateDatabase(postgres.connection);
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
      return new SoakStage({ members, agents, operatorToken, database, url }, ends);
    } catch (error) {
      await endAll(ends);
      throw error;
    }
  }

  /** Ends PostgreSQL with such a signal, and resolves when it serves again as another process. */
  async endPostgres(signal: "SIGINT" | "SIGKILL"): Promise<void> {
    const before = await this.#postmaster();
    process.kill(before, signal);
    await waitFor(async () => (await this.#postmaster()) !== before, { what: "PostgreSQL, started again" });
  }

  async #postmaster(): Promise<number> {
    const [row] = await this.database.sql<{ pid: string }>`
      SELECT split_part(pg_read_file('postmaster.pid'), chr(10), 1) AS pid`;
    return Number(row?.pid);
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
