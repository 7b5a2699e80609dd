/** Which PostgreSQL a data folder's `postmaster.pid` names, and whether that one really runs. */
import { execFile } from "node:child_process";
import { readFile, readlink, stat, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { promisify } from "node:util";

/** The lines of postmaster.pid that matter to us. */
export interface PostmasterPid {
  pid: number;
  port: number;
  socketFolder: string;
  /** True once connections are accepted. */
  ready: boolean;
}

/** Reads the text of postmaster.pid; undefined while it is being written, or when it is not one. */
export function parsePostmasterPid(text: string): PostmasterPid | undefined {
  const lines = text.split("\n").map((line) => line.trim());
  const pid = Number(lines[0]);
  // A single-user PostgreSQL writes its pid as a negative number.
  if (!/^-?[0-9]+$/.test(lines[0] ?? "") || !Number.isSafeInteger(pid) || pid === 0) return undefined;
  return {
    pid: Math.abs(pid),
    port: Number(lines[3] ?? 0) || 0,
    socketFolder: lines[4] ?? "",
    ready: lines[7] === "ready",
  };
}

export async function readPostmasterPid(dataFolder: string): Promise<PostmasterPid | undefined> {
  try {
    return parsePostmasterPid(await readFile(`${dataFolder}/postmaster.pid`, "utf8"));
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/**
 * Makes PostgreSQL take a left pid file for what it is. By the number alone it would refuse to start as long as any process
 * of the same user has it; the number of its own parent it knows to be reused. The file itself must stay: it names the
 * shared memory by which PostgreSQL makes sure that no process of its predecessor still writes.
 */
export async function markStale(dataFolder: string, parentPid: number): Promise<void> {
  const file = `${dataFolder}/postmaster.pid`;
  const lines = (await readFile(file, "utf8")).split("\n");
  await writeFile(file, [String(parentPid), ...lines.slice(1)].join("\n"));
}

/**
 * Whether the process is a PostgreSQL that works in this data folder. The number alone says nothing: after a crash or a
 * reboot it may be anyone's. A postmaster's working directory is its data folder.
 */
export async function isPostmasterOf(pid: number, dataFolder: string): Promise<boolean> {
  if (!isAlive(pid)) return false;
  if (process.platform !== "linux") return await commandNames(pid, dataFolder);
  try {
    const [program, there, here] = await Promise.all([
      readlink(`/proc/${pid}/exe`),
      stat(`/proc/${pid}/cwd`),
      stat(dataFolder),
    ]);
    // After a reinstallation the program's path is followed by " (deleted)".
    return basename(program).startsWith("postgres") && there.dev === here.dev && there.ino === here.ino;
  } catch (error) {
    if (isNoneOfOurs(error)) return false;
    throw error;
  }
}

/**
 * The PostgreSQL that still listens in this socket folder for a data folder that was removed under it. It looks for its
 * folder once a minute, and would keep its successor from listening until then.
 */
export async function findOrphan(socketLock: string, dataFolder: string): Promise<number | undefined> {
  // Other systems do not tell what became of a working directory.
  if (process.platform !== "linux") return undefined;
  try {
    const [first, second] = (await readFile(socketLock, "utf8")).split("\n");
    const pid = Number(first);
    return second === dataFolder && (await hasLostItsFolder(pid)) ? pid : undefined;
  } catch (error) {
    if (isNoneOfOurs(error)) return undefined;
    throw error;
  }
}

async function hasLostItsFolder(pid: number): Promise<boolean> {
  const [program, folder] = await Promise.all([readlink(`/proc/${pid}/exe`), readlink(`/proc/${pid}/cwd`)]);
  return basename(program).startsWith("postgres") && folder.endsWith(" (deleted)");
}

/** Whether there is such a process. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

async function commandNames(pid: number, dataFolder: string): Promise<boolean> {
  try {
    const { stdout } = await promisify(execFile)("ps", ["-o", "command=", "-p", String(pid)]);
    return stdout.includes("postgres") && stdout.includes(dataFolder);
  } catch {
    // ps fails when there is no such process.
    return false;
  }
}

/** A process that ended meanwhile, or is someone else's: ours runs as a user that we may look at. */
function isNoneOfOurs(error: unknown): boolean {
  return (
    error instanceof Error && "code" in error && /^(ENOENT|EACCES|EPERM|ESRCH)$/.test(String(error.code))
  );
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}
