import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { access, chmod, constants, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type Database, openDatabase } from "../../../src/storage/database.ts";
import { EmbeddedPostgres } from "../../../src/storage/embedded-postgres.ts";
import { migrateDatabase } from "../../../src/storage/migrate.ts";
import { spawnServe } from "../../helpers/serve-process.ts";

/** What the bench has started, and ends. */
export interface Running {
  stop(): Promise<void>;
}

/** A PostgreSQL of the bench's own, with the schema. */
export interface BenchDatabase extends Running {
  readonly url: string;
  readonly database: Database;
}

export async function startDatabase(): Promise<BenchDatabase> {
  const dataDir = await mkdtemp(join(tmpdir(), "drover-bench-"));
  await chmod(dataDir, 0o755);
  const postgres = new EmbeddedPostgres({
    dataDir,
    logger: { info() {}, warn: console.warn, error: console.error },
  });
  await postgres.start();
  await migrateDatabase(postgres.connection);
  const database = openDatabase({
    ...postgres.connection,
    applicationName: "bench",
    statementTimeoutMs: 600_000,
  });
  return {
    url: postgres.connection.url,
    database,
    async stop() {
      await database.close();
      await postgres.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

export interface BenchServer extends Running {
  readonly pid: number;
  readonly grpcAddress: string;
  readonly httpUrl: string;
  /** Ends it without a word, for good. */
  kill(): Promise<void>;
}

/** `drover serve` of this checkout or another one, on the bench's database. */
export async function startDrover(
  databaseUrl: string,
  root?: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<BenchServer> {
  const dataDir = await mkdtemp(join(tmpdir(), "drover-bench-"));
  const server = spawnServe(
    {
      DATABASE_URL: databaseUrl,
      DROVER_DATA_DIR: dataDir,
      DROVER_HTTP_ADDR: "127.0.0.1:0",
      DROVER_GRPC_ADDR: "127.0.0.1:0",
      ...settings,
      ...(process.env.BENCH_NODE_OPTIONS !== undefined && {
        NODE_OPTIONS: process.env.BENCH_NODE_OPTIONS,
      }),
    },
    root === undefined ? {} : { root },
  );
  const { httpUrl, grpcAddress } = await server.listening;
  return {
    pid: server.pid,
    httpUrl,
    grpcAddress,
    async kill() {
      server.kill("SIGKILL");
      await server.exited;
      await rm(dataDir, { recursive: true, force: true });
    },
    async stop() {
      server.kill("SIGTERM");
      await server.exited;
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

/** Whether a program of that name is installed. */
export async function isInstalled(program: string): Promise<boolean> {
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    try {
      await access(join(folder, program), constants.X_OK);
      return true;
    } catch {
      // Not in this folder.
    }
  }
  return false;
}

/** etcd alone, on a port of its own, with a data folder of its own. */
export async function startEtcd(): Promise<Running & { address: string; version: string }> {
  const dataDir = await mkdtemp(join(tmpdir(), "drover-bench-etcd-"));
  const [client, peer] = [23_790 + (process.pid % 100) * 2, 23_791 + (process.pid % 100) * 2];
  const etcd = spawn(
    "etcd",
    [
      ...["--data-dir", dataDir],
      ...["--listen-client-urls", `http://127.0.0.1:${client}`],
      ...["--advertise-client-urls", `http://127.0.0.1:${client}`],
      ...["--listen-peer-urls", `http://127.0.0.1:${peer}`],
      ...["--initial-advertise-peer-urls", `http://127.0.0.1:${peer}`],
      ...["--initial-cluster", `default=http://127.0.0.1:${peer}`],
    ],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  const version = await servingEtcd(etcd);
  return {
    address: `127.0.0.1:${client}`,
    version,
    async stop() {
      const exited = once(etcd, "exit");
      etcd.kill("SIGTERM");
      await exited;
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

async function servingEtcd(etcd: ChildProcess): Promise<string> {
  if (etcd.stderr === null) throw new Error("etcd has no output");
  let version = "unknown";
  const lines = createInterface({ input: etcd.stderr });
  return await new Promise<string>((resolve, reject) => {
    etcd.once("exit", (code) => reject(new Error(`etcd ended with ${code}`)));
    lines.on("line", (line) => {
      version = /etcd[- ][Vv]ersion"?:? ?"?([0-9.]+)/.exec(line)?.[1] ?? version;
      if (/ready to serve client requests/.test(line)) resolve(version);
    });
  });
}

/** A rival written here, as a process of its own; it tells its port when it listens. */
export async function startScript(
  name: string,
  parameters: readonly string[],
): Promise<Running & { pid: number; port: number }> {
  const child = fork(fileURLToPath(new URL(name, import.meta.url)), [...parameters], { stdio: "inherit" });
  const [port] = await Promise.race([
    once(child, "message"),
    once(child, "exit").then(([code]) => {
      throw new Error(`${name} ended with ${code}`);
    }),
  ]);
  return {
    pid: child.pid ?? 0,
    port: Number(port),
    async stop() {
      const exited = once(child, "exit");
      child.disconnect();
      await exited;
    },
  };
}
