/** PostgreSQL refuses to run as root: who it runs as then, and where that user can go. */
import { readFile, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { StorageStartError } from "./database-error.ts";

/** The user that PostgreSQL runs as when we are root. */
export interface PostgresUser {
  uid: number;
  gid: number;
}

const NAME = "nobody";

/** Undefined when we are not root: then PostgreSQL runs as we do. */
export async function findPostgresUser(): Promise<PostgresUser | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const users = await readFile("/etc/passwd", "utf8").catch(() => "");
  // It must have a name, which initdb looks up; this one is on every system, and owns nothing.
  const [, , uid, gid] =
    users
      .split("\n")
      .find((line) => line.startsWith(`${NAME}:`))
      ?.split(":") ?? [];
  if (uid === undefined || gid === undefined || Number(uid) <= 0) {
    throw new StorageStartError(
      `PostgreSQL does not run as root, and there is no user ${NAME} that it could run as: ` +
        "start Drover as an ordinary user, or set DATABASE_URL to a PostgreSQL of your own.",
    );
  }
  return { uid: Number(uid), gid: Number(gid) };
}

/** Whether the user may pass through every folder down to this one, and through it. */
export async function canEnter(folder: string, user: PostgresUser): Promise<boolean> {
  for (let at = folder; ; at = dirname(at)) {
    if (!(await mayExecute(at, user))) return false;
    if (at === dirname(at)) return true;
  }
}

/** Whether the user may run this program, or pass this folder, once it got there. */
export async function mayExecute(path: string, user: PostgresUser): Promise<boolean> {
  const { uid, gid, mode } = await stat(path);
  const needed = uid === user.uid ? 0o100 : gid === user.gid ? 0o010 : 0o001;
  return (mode & needed) === needed;
}
