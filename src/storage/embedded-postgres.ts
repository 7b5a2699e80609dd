import type { ChildProcess } from "node:child_process";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Service } from "../runtime/service.ts";
import { StorageStartError } from "./database-error.ts";
import { socketDatabaseUrl } from "./database-url.ts";
import { findPostgresBinaries } from "./postgres-binaries.ts";
import { locatePostgres } from "./postgres-location.ts";
import {
  exited,
  initializeData,
  killOrphanedPostgres,
  type PostgresProgram,
  SUPERUSER,
  startPostgres,
  stopForeignPostgres,
  stopPostgres,
} from "./postgres-process.ts";
import { ServerLock } from "./server-lock.ts";
import { createSocketFolder, SOCKET_PORT, socketLockOf } from "./socket-folder.ts";
import type { StorageLogger } from "./storage-logger.ts";

export interface EmbeddedPostgresOptions {
  dataDir: string;
  logger: StorageLogger;
  /** PostgreSQL settings over ours. */
  settings?: Readonly<Record<string, string>>;
}

/** For a server and its database on one small machine; what is not here is PostgreSQL's default. */
const SETTINGS: Readonly<Record<string, string>> = {
  listen_addresses: "",
  port: String(SOCKET_PORT),
  unix_socket_permissions: "0700",
  max_connections: "200",
  shared_buffers: "128MB",
  // Containers grant 64 MB of shared memory, which parallel queries would ask for and not get.
  max_parallel_workers_per_gather: "0",
  huge_pages: "off",
  fsync: "on",
  synchronous_commit: "on",
  min_wal_size: "80MB",
  max_wal_size: "1GB",
  // Short statements, over and over: compiling them costs more than it gives.
  jit: "off",
  random_page_cost: "1.1",
  autovacuum_naptime: "15s",
  timezone: "UTC",
  log_timezone: "UTC",
  log_checkpoints: "off",
  // Statements hold what agents sent; the log is for what is wrong with the server.
  log_min_error_statement: "panic",
  log_error_verbosity: "terse",
  // A server that was killed must not leave its statements running, and their locks held.
  ...(process.platform === "linux" && { client_connection_check_interval: "5s" }),
};

const FIRST_BACKOFF_MS = 100;
const LAST_BACKOFF_MS = 10_000;
const HEALTHY_AFTER_MS = 60_000;
const LEFTOVERS_END_WITHIN_MS = 10_000;
/** What PostgreSQL says while processes of a killed one are still about to end. */
const LEFTOVERS = /pre-existing shared memory block|lock file "[^"]*" already exists/;

/**
 * A real PostgreSQL as a child process, on a Unix socket alone. What a killed server left running is stopped and
 * started again, so that it always runs with the settings of this build; a PostgreSQL that dies is started again.
 */
export class EmbeddedPostgres implements Service {
  readonly #options: EmbeddedPostgresOptions;
  readonly #stopping = new AbortController();
  #lock: ServerLock | undefined;
  #url: string | undefined;
  #socketFolder: string | undefined;
  #child: ChildProcess | undefined;
  #supervision: Promise<void> = Promise.resolve();
  // Only for an exit that did not go through stop().
  readonly #stopWithProcess = () => this.#child?.kill("SIGINT");

  constructor(options: EmbeddedPostgresOptions) {
    this.#options = options;
  }

  /** Known once started; it stays the same when PostgreSQL is started again. */
  get connection(): { url: string } {
    if (this.#url === undefined) throw new Error("the embedded PostgreSQL was not started");
    return { url: this.#url };
  }

  /** Rejects with StorageStartError when it cannot, and when another server holds the data directory. */
  async start(): Promise<void> {
    const { dataDir, logger, settings } = this.#options;
    const location = await locatePostgres(dataDir, logger);
    this.#lock = ServerLock.take(location.dataDir);
    try {
      const program: PostgresProgram = {
        location,
        binaries: await findPostgresBinaries(location.dataDir, location.user),
        logFile: join(location.dataDir, "postgres.log"),
        settings: { ...SETTINGS, ...settings },
      };
      const left = await stopForeignPostgres(location.dataFolder);
      if (left !== undefined)
        logger.info({ pid: left }, "stopped the PostgreSQL that a killed server had left running");
      const folder = await createSocketFolder(location.dataFolder, location.user);
      this.#socketFolder = folder;
      const orphan = await killOrphanedPostgres(socketLockOf(folder), location.dataFolder);
      if (orphan !== undefined)
        logger.info({ pid: orphan }, "killed the PostgreSQL of a data directory that was removed");
      await initializeData(program);
      await requireSameVersion(program);
      process.on("exit", this.#stopWithProcess);
      const child = await this.#launch(program, folder);
      this.#url = socketDatabaseUrl({ folder, port: SOCKET_PORT, user: SUPERUSER, database: "postgres" });
      this.#supervision = this.#supervise(program, folder, child);
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    if (this.#child !== undefined) await stopPostgres(this.#child);
    await this.#supervision;
    // Its successor, if it was being started just then.
    if (this.#child !== undefined) await stopPostgres(this.#child);
    process.off("exit", this.#stopWithProcess);
    if (this.#socketFolder !== undefined) await rm(this.#socketFolder, { recursive: true, force: true });
    this.#lock?.release();
  }

  async #launch(program: PostgresProgram, socketFolder: string): Promise<ChildProcess> {
    const giveUpAtMs = performance.now() + LEFTOVERS_END_WITHIN_MS;
    for (;;) {
      try {
        return await startPostgres(program, socketFolder, (child) => {
          this.#child = child;
          if (this.#stopping.signal.aborted) child.kill("SIGINT");
        });
      } catch (error) {
        const leftovers = error instanceof StorageStartError && LEFTOVERS.test(error.message);
        if (!leftovers || this.#stopping.signal.aborted || performance.now() > giveUpAtMs) throw error;
        await delay(FIRST_BACKOFF_MS);
      }
    }
  }

  async #supervise(program: PostgresProgram, socketFolder: string, first: ChildProcess): Promise<void> {
    const { logger } = this.#options;
    const { signal } = this.#stopping;
    let child: ChildProcess | undefined = first;
    let failures = 0;
    while (!signal.aborted) {
      const startedAtMs = performance.now();
      if (child !== undefined) {
        const outcome = await exited(child);
        if (signal.aborted) return;
        if (performance.now() - startedAtMs > HEALTHY_AFTER_MS) failures = 0;
        logger.error({ outcome, log: program.logFile }, "PostgreSQL ended unasked; it is started again");
      }
      const backoffMs = Math.min(FIRST_BACKOFF_MS * 2 ** failures, LAST_BACKOFF_MS);
      await delay(backoffMs, undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      failures += 1;
      child = await this.#relaunch(program, socketFolder);
    }
  }

  async #relaunch(program: PostgresProgram, socketFolder: string): Promise<ChildProcess | undefined> {
    const { logger } = this.#options;
    try {
      await stopForeignPostgres(program.location.dataFolder);
      const child = await this.#launch(program, socketFolder);
      logger.info({ pid: child.pid }, "PostgreSQL runs again");
      return child;
    } catch (error) {
      if (!this.#stopping.signal.aborted)
        logger.error({ err: error }, "PostgreSQL could not be started again yet");
      return undefined;
    }
  }
}

async function requireSameVersion({ location, binaries }: PostgresProgram): Promise<void> {
  const data = (await readFile(join(location.dataFolder, "PG_VERSION"), "utf8")).trim();
  const catalog = await readFile(join(binaries, "share", "postgresql", "postgres.bki"), "utf8");
  const program = /^# PostgreSQL ([0-9]+)/.exec(catalog)?.[1];
  if (program === undefined || program === data) return;
  throw new StorageStartError(
    `The database in ${location.dataFolder} was made by PostgreSQL ${data}, and this Drover brings PostgreSQL ${program}: ` +
      "dump it with the Drover that made it, and load the dump into a new data directory.",
  );
}
