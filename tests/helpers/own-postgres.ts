import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EmbeddedPostgres } from "../../src/storage/embedded-postgres.ts";
import { openRawSql } from "./raw-sql.ts";
import { waitFor } from "./wait-for.ts";

/** A PostgreSQL of a test's own, with the settings that a server's has; unlike the one of the whole run it may be ended. */
export interface OwnPostgres {
  readonly url: string;
  /** Ends it by the signal (SIGINT: it ends every connection, and itself), and resolves when it serves again. */
  restart(signal: "SIGINT" | "SIGKILL"): Promise<void>;
  /** Removes it and everything in it. */
  close(): Promise<void>;
}

export async function startOwnPostgres(): Promise<OwnPostgres> {
  const dataDir = await mkdtemp(join(tmpdir(), "drover-postgres-"));
  // As root PostgreSQL runs as somebody else, who has to get there.
  await chmod(dataDir, 0o755);
  const postgres = new EmbeddedPostgres({ dataDir, logger: { info() {}, warn() {}, error() {} } });
  await postgres.start();
  const { url } = postgres.connection;
  return {
    url,
    async restart(signal) {
      const before = await readPid(url);
      process.kill(before, signal);
      await waitFor(async () => (await readPid(url)) !== before, { what: "PostgreSQL, started again" });
    },
    async close() {
      await postgres.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

async function readPid(url: string): Promise<number> {
  const sql = openRawSql(url, 1);
  try {
    const [row] = await sql<{ pid: string }[]>`
      SELECT split_part(pg_read_file('postmaster.pid'), chr(10), 1) AS pid`;
    if (row === undefined) throw new Error("PostgreSQL has no number of a process");
    return Number(row.pid);
  } finally {
    await sql.end({ timeout: 1 });
  }
}
