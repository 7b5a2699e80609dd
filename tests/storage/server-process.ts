import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { chmod, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import { openDatabase } from "../../src/storage/database.ts";
import { waitFor } from "../helpers/wait-for.ts";

const entry = fileURLToPath(new URL("./embedded-server.ts", import.meta.url));

/** What the process said, one object a line. */
type Said = { url?: string; failed?: string; message?: string; stopped?: boolean };

export interface ServerProcess {
  child: ChildProcess;
  said: Said[];
  /** Resolves to the address once it serves; rejects with the sentence that it fails with. */
  serves: Promise<string>;
  /** Resolves when the process has ended. */
  ended: Promise<number | string>;
  hears(signal: NodeJS.Signals): Promise<number | string>;
}

export interface ServerOptions {
  settings?: string[];
  uid?: number;
  /** In octal, as the shell takes it. */
  umask?: string;
}

/** A server in a process of its own; at the end of the test it and its PostgreSQL are gone. */
export function startServer(
  dataDir: string,
  { settings = [], uid, umask = "022" }: ServerOptions = {},
): ServerProcess {
  // Tests do not lose power.
  const args = [entry, dataDir, "fsync=off", ...settings];
  const child = spawn("/bin/sh", ["-c", `umask ${umask}; exec "$0" "$@"`, process.execPath, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
    cwd: "/",
    ...(uid !== undefined && { uid, gid: uid }),
  });
  const said: Said[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => said.push(JSON.parse(line)));
  const ended = new Promise<number | string>((resolve) => {
    child.once("exit", (code, signal) => resolve(code ?? signal ?? ""));
  });
  const outcome = waitFor(() => said.find(({ url, failed }) => url !== undefined || failed !== undefined), {
    timeoutMs: 60_000,
    what: "a start or a failure",
  });
  const serves = outcome.then(({ url, failed }) => {
    if (url === undefined) throw new Error(failed);
    return url;
  });
  // Whoever waits for it hears of a failure.
  serves.catch(() => {});
  const hears = (signal: NodeJS.Signals) => {
    child.kill(signal);
    return ended;
  };
  onTestFinished(async () => {
    await hears("SIGTERM");
  });
  return { child, said, serves, ended, hears };
}

/** A data directory of one's own, open to all so that PostgreSQL's user gets in when the tests run as root. */
export async function createDataDir(): Promise<string> {
  const dataDir = await mkdtemp(join(tmpdir(), "drover-data-"));
  await chmod(dataDir, 0o755);
  onTestFinished(async () => {
    await endPostgres(dataDir);
    await rm(dataDir, { recursive: true, force: true });
  });
  return dataDir;
}

/** The pid of the PostgreSQL that works in the folder, from its pid file. */
export async function postmasterPid(dataDir: string): Promise<number> {
  return Number((await readFile(join(dataDir, "postgres", "postmaster.pid"), "utf8")).split("\n")[0]);
}

/** A process that has ended counts as such also while nobody has asked for its exit code. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return process.platform !== "linux" || !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

/** Runs one statement on the first attempt that finds the database. */
export async function ask(url: string, statement: string): Promise<unknown[]> {
  const database = openDatabase({ url, applicationName: "test", patienceMs: 10_000, maxConnections: 1 });
  try {
    return await database.db.execute(statement);
  } finally {
    await database.close();
  }
}

/** A server that a test killed leaves its PostgreSQL behind. */
async function endPostgres(dataDir: string): Promise<void> {
  const lines = await readFile(join(dataDir, "postgres", "postmaster.pid"), "utf8").catch(() => "");
  const [pid, socketFolder] = [Number(lines.split("\n")[0]), lines.split("\n")[4] ?? ""];
  if (socketFolder !== "") await rm(socketFolder, { recursive: true, force: true });
  if (pid <= 0 || !isRunning(pid)) return;
  process.kill(pid, "SIGQUIT");
  await waitFor(() => !isRunning(pid), { what: "the end of a PostgreSQL that was left over" });
}
