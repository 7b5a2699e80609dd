/** Runs initdb and postgres, and stops what runs. */
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { chown, mkdtemp, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { StorageStartError } from "./database-error.ts";
import { explainPostgresFailure } from "./explain-postgres-failure.ts";
import type { PostgresBinaries } from "./postgres-binaries.ts";
import type { PostgresLocation } from "./postgres-location.ts";
import { findOrphan, isPostmasterOf, markStale, readPostmasterPid } from "./postmaster-pid.ts";

export interface PostgresProgram {
  binaries: PostgresBinaries;
  location: PostgresLocation;
  logFile: string;
  /** PostgreSQL settings by name. */
  settings: Readonly<Record<string, string>>;
}

/** The database's only role. */
export const SUPERUSER = "drover";

const UNFINISHED = "postgres.new-";
const POLL_MS = 10;
const SIGNAL_GRACE_MS = 10_000;
const LARGEST_LOG_BYTES = 10 * 1024 * 1024;
/** Replaying the log after a crash takes its time; a PostgreSQL that says nothing for longer than this is broken. */
const READY_WITHIN_MS = 10 * 60_000;

/** Makes the data folder, unless there is one. It gets its name when it is complete, so that a half-made one never counts. */
export async function initializeData(program: PostgresProgram): Promise<void> {
  const { parent, dataFolder, user } = program.location;
  await removeUnfinished(parent);
  if (await exists(join(dataFolder, "PG_VERSION"))) return;
  const unfinished = await mkdtemp(join(parent, UNFINISHED));
  if (user !== undefined) await chown(unfinished, user.uid, user.gid);
  const logged = await logSize(program.logFile);
  const child = await spawnLogged(program, "initdb", [
    `--pgdata=${unfinished}`,
    `--username=${SUPERUSER}`,
    // The socket's folder lets in nobody but its owner and root. `peer` would ask for names in /etc/passwd, which
    // a user given by number in a container lacks, and for a map, since root talks to another user's server.
    "--auth=trust",
    "--encoding=UTF8",
    // PostgreSQL's own: the order of texts then does not change with the system's library, and indexes stay right.
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
    ...(program.settings.fsync === "off" ? ["--no-sync"] : []),
  ]);
  const outcome = await exited(child);
  if (outcome !== 0) throw await failure(program, "The database could not be created.", logged);
  await rename(unfinished, dataFolder);
  await syncFolder(parent);
}

/**
 * Starts PostgreSQL; `onSpawn` hears of the process at once. Resolves when it accepts connections, rejects with what its
 * log says when it ends before.
 */
export async function startPostgres(
  program: PostgresProgram,
  socketFolder: string,
  onSpawn: (child: ChildProcess) => void,
): Promise<ChildProcess> {
  const { dataFolder } = program.location;
  const settings = { ...program.settings, unix_socket_directories: socketFolder };
  const logged = await logSize(program.logFile);
  const child = await spawnLogged(program, "postgres", [
    "-D",
    dataFolder,
    ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
  ]);
  onSpawn(child);
  const giveUpAtMs = performance.now() + READY_WITHIN_MS;
  while (!hasExited(child)) {
    const found = await readPostmasterPid(dataFolder);
    if (found?.pid === child.pid && found?.ready) return child;
    if (performance.now() > giveUpAtMs) {
      child.kill("SIGQUIT");
      break;
    }
    await delay(POLL_MS);
  }
  throw await failure(program, "PostgreSQL did not start.", logged);
}

/** Stops a child of ours: what runs is rolled back and all is written; resolves when it has ended. */
export async function stopPostgres(child: ChildProcess): Promise<void> {
  await stopBySignals(
    (signal) => child.kill(signal),
    async () => hasExited(child),
  );
}

/**
 * Stops the PostgreSQL that a server which is gone left behind in this data folder, if there is one, and resolves to its
 * pid. Only the holder of the data directory's lock may call it.
 */
export async function stopForeignPostgres(dataFolder: string): Promise<number | undefined> {
  const pid = (await readPostmasterPid(dataFolder))?.pid;
  if (pid === undefined) return undefined;
  if (!(await isPostmasterOf(pid, dataFolder))) {
    await markStale(dataFolder, process.pid);
    return undefined;
  }
  // One that was halted hears no other signal.
  signalProcess(pid, "SIGCONT");
  await stopBySignals(
    (signal) => signalProcess(pid, signal),
    async () => !(await isPostmasterOf(pid, dataFolder)),
  );
  // One that had to be killed did not clean up.
  if ((await readPostmasterPid(dataFolder)) !== undefined) await markStale(dataFolder, process.pid);
  return pid;
}

/**
 * Kills the PostgreSQL whose data folder was removed under it, if there is one, and resolves to its pid. It has nothing left
 * to save, and a checkpoint of its would go to the file of that name in the folder which takes its place.
 */
export async function killOrphanedPostgres(
  socketLock: string,
  dataFolder: string,
): Promise<number | undefined> {
  const pid = await findOrphan(socketLock, dataFolder);
  if (pid === undefined) return undefined;
  signalProcess(pid, "SIGKILL");
  while ((await findOrphan(socketLock, dataFolder)) === pid) await delay(POLL_MS);
  return pid;
}

/** Fast shutdown first, then an immediate one (the next start replays the log), then the end. */
async function stopBySignals(
  send: (signal: NodeJS.Signals) => void,
  gone: () => Promise<boolean>,
): Promise<void> {
  for (const signal of ["SIGINT", "SIGQUIT", "SIGKILL"] as const) {
    send(signal);
    const giveUpAtMs = performance.now() + SIGNAL_GRACE_MS;
    while (performance.now() < giveUpAtMs) {
      if (await gone()) return;
      await delay(POLL_MS);
    }
  }
}

function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}

export function hasExited(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null || child.pid === undefined;
}

/** Resolves to the exit code, or to the signal that ended it. */
export function exited(child: ChildProcess): Promise<number | string> {
  return new Promise((resolve) => {
    if (hasExited(child)) resolve(child.exitCode ?? child.signalCode ?? "not started");
    else child.once("exit", (code, signal) => resolve(code ?? signal ?? "unknown"));
  });
}

async function spawnLogged(program: PostgresProgram, name: string, args: string[]): Promise<ChildProcess> {
  const log = await open(program.logFile, "a", 0o600);
  const { user } = program.location;
  const options: SpawnOptions = {
    // Ours may be a folder that the other user may not enter.
    cwd: "/",
    env: { PATH: process.env.PATH, LC_ALL: "C", TZ: "UTC" },
    stdio: ["ignore", log.fd, log.fd],
    // A session of its own: an interrupt typed at the terminal is for us alone, and we stop it when we are done with it.
    detached: true,
    ...(user !== undefined && { uid: user.uid, gid: user.gid }),
  };
  try {
    const child = spawn(join(program.binaries, "bin", name), args, options);
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", (error) => reject(cannotRun(name, error)));
    });
    return child;
  } finally {
    await log.close();
  }
}

function cannotRun(name: string, error: Error): StorageStartError {
  return new StorageStartError(
    `The program ${name} of the embedded PostgreSQL cannot be run on this system (${error.message}): ` +
      "set DATABASE_URL to a PostgreSQL of your own.",
    error,
  );
}

async function failure(
  program: PostgresProgram,
  what: string,
  logOffset: number,
): Promise<StorageStartError> {
  const log = (await readFile(program.logFile)).subarray(logOffset).toString("utf8");
  const { dataFolder } = program.location;
  const user = program.location.user?.uid ?? process.getuid?.() ?? 0;
  return new StorageStartError(
    `${what} ${explainPostgresFailure(log, { dataFolder, logFile: program.logFile, user })}`,
  );
}

/** The size of the log before what comes now; a large one is put aside, one generation deep. */
async function logSize(logFile: string): Promise<number> {
  const size = await stat(logFile).then(
    (found) => found.size,
    () => 0,
  );
  if (size < LARGEST_LOG_BYTES) return size;
  await rename(logFile, `${logFile}.1`);
  return 0;
}

/** The initdb of a server that was killed may still be writing; what cannot be removed now is left to the next start. */
async function removeUnfinished(parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    if (name.startsWith(UNFINISHED))
      await rm(join(parent, name), { recursive: true, force: true }).catch(() => {});
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}
