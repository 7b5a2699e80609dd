import { createHash } from "node:crypto";
import { chown, lstat, mkdir, mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PostgresUser } from "./postgres-user.ts";

/** Part of the socket's name; nothing listens on it as a TCP port. */
export const SOCKET_PORT = 5432;

/** A socket's address has 108 bytes on Linux and 104 on macOS, the last of them a NUL. */
const MOST_BYTES = process.platform === "linux" ? 107 : 103;
const SOCKET_NAME = `/.s.PGSQL.${SOCKET_PORT}`;

/**
 * A folder for the socket of a database, short enough for one and closed to everyone but PostgreSQL's user and root:
 * whoever gets in needs no password. The same data folder gets the same one, as long as nobody took its name.
 */
export async function createSocketFolder(
  dataFolder: string,
  user: PostgresUser | undefined,
): Promise<string> {
  const key = createHash("sha256").update(dataFolder).digest("hex").slice(0, 12);
  const fits = Buffer.byteLength(join(tmpdir(), `drover-${key}-XXXXXX`)) + SOCKET_NAME.length <= MOST_BYTES;
  const folder = join(fits ? tmpdir() : "/tmp", `drover-${key}`);
  const owner = user?.uid ?? process.getuid?.();
  try {
    await mkdir(folder, { mode: 0o700 });
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
    const found = await lstat(folder);
    if (found.isDirectory() && found.uid === owner && (found.mode & 0o077) === 0) return folder;
    // Anyone may put a name into a folder for temporary files; we go on beside it.
    const other = await mkdtemp(`${folder}-`);
    await give(other, user);
    return other;
  }
  await give(folder, user);
  return folder;
}

/** The file in which PostgreSQL says that it listens there. */
export function socketLockOf(folder: string): string {
  return `${folder}${SOCKET_NAME}.lock`;
}

async function give(folder: string, user: PostgresUser | undefined): Promise<void> {
  if (user !== undefined) await chown(folder, user.uid, user.gid);
}
