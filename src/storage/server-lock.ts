import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { StorageStartError } from "./database-error.ts";

/** SQLite's "database is locked". */
const SQLITE_BUSY = 5;

/**
 * Holds a data directory for one server process. Node has no file locks but those that SQLite takes: the system drops
 * them when the process ends, however it ends, so that there is never a stale one, and no pid that could be another's.
 */
export class ServerLock {
  readonly #file: DatabaseSync;

  private constructor(file: DatabaseSync) {
    this.#file = file;
  }

  /** Throws StorageStartError when a live process holds the lock. */
  static take(dataDir: string): ServerLock {
    // The file of a lock must not be opened again by its holder, since closing any descriptor of it drops the lock;
    // so the pid, which only explains, stands in a file of its own.
    const pidFile = join(dataDir, "server.pid");
    const file = openLock(dataDir);
    try {
      file.exec("PRAGMA journal_mode = MEMORY");
      file.exec("BEGIN EXCLUSIVE");
      writeFileSync(pidFile, `${process.pid}\n`);
    } catch (error) {
      file.close();
      if (!(error instanceof Error && "errcode" in error && error.errcode === SQLITE_BUSY))
        throw notWritable(dataDir, error);
      throw new StorageStartError(
        `Another Drover server${pidFrom(pidFile)} runs on the data directory ${dataDir}; ` +
          "stop it, or give this one a directory of its own with DROVER_DATA_DIR.",
      );
    }
    return new ServerLock(file);
  }

  release(): void {
    if (this.#file.isOpen) this.#file.close();
  }
}

function openLock(dataDir: string): DatabaseSync {
  try {
    return new DatabaseSync(join(dataDir, "server.lock"));
  } catch (error) {
    throw notWritable(dataDir, error);
  }
}

function notWritable(dataDir: string, error: unknown): StorageStartError {
  const why = error instanceof Error ? error.message : String(error);
  return new StorageStartError(
    `The data directory ${dataDir} cannot be written (${why}): set DROVER_DATA_DIR to one that this user can write.`,
    error,
  );
}

function pidFrom(pidFile: string): string {
  try {
    const pid = readFileSync(pidFile, "utf8").trim();
    return /^[0-9]+$/.test(pid) ? ` (process ${pid})` : "";
  } catch {
    return "";
  }
}
