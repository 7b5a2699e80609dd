import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";

/** What a server of this machine says of itself in its data directory, while it runs. */
export interface RunningServer {
  http: string;
  grpc: string;
}

/** The server that runs on the data directory which the environment names; undefined where none tells of itself. */
export function runningServer(
  environment: Readonly<Record<string, string | undefined>>,
): RunningServer | undefined {
  try {
    const path = join(resolve(environment.DROVER_DATA_DIR || ".drover"), "server.json");
    const { pid, http, grpc } = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
    if (typeof http !== "string" || typeof grpc !== "string" || !isAlive(pid)) return undefined;
    return { http, grpc };
  } catch {
    // No file, or one that is no server's: commands go to the default address then, and name it if nobody answers.
    return undefined;
  }
}

function isAlive(pid: unknown): boolean {
  if (typeof pid !== "number" || !Number.isInteger(pid) || pid <= 0) return false;
  try {
    return process.kill(pid, 0);
  } catch (error) {
    // A process of another user is one all the same.
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}
