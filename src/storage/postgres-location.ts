/**
 * Where the embedded database of a data directory lies: in `<data directory>/postgres`, or, when we are root and that
 * place is closed to the user that PostgreSQL runs as (a home directory of mode 0700, say), below /var/lib/drover. The
 * file `postgres.location` in the data directory then says where, and it alone decides from then on.
 */
import { createHash, randomBytes } from "node:crypto";
import { chmod, mkdir, readFile, realpath, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { StorageStartError } from "./database-error.ts";
import { canEnter, findPostgresUser, type PostgresUser } from "./postgres-user.ts";
import type { StorageLogger } from "./storage-logger.ts";

export interface PostgresLocation {
  /** The data directory itself, without symbolic links. */
  dataDir: string;
  /** Holds PostgreSQL's data folder and what is written next to it. */
  parent: string;
  /** PostgreSQL's own data folder; it may not exist yet. */
  dataFolder: string;
  user: PostgresUser | undefined;
}

/** What a root server keeps where every user can get to it; each database in a closed folder of its own. */
export const SYSTEM_FOLDER = "/var/lib/drover";

/** Creates the data directory if need be and says where its database lies; throws StorageStartError. */
export async function locatePostgres(givenDataDir: string, logger: StorageLogger): Promise<PostgresLocation> {
  const dataDir = await createFolder(givenDataDir);
  const user = await findPostgresUser();
  const pointer = join(dataDir, "postgres.location");
  const elsewhere = await readPointer(pointer);
  const inPlace = join(dataDir, "postgres");
  const parent = await chooseParent({ dataDir, inPlace, pointer, elsewhere, user, logger });
  const dataFolder = join(parent, "postgres");
  const owner = await ownerOf(dataFolder);
  if (owner === undefined) return { dataDir, parent, dataFolder, user };
  if (user === undefined && owner.uid !== process.getuid?.()) {
    throw new StorageStartError(
      `The database in ${dataFolder} belongs to user ${owner.uid}: start Drover as that user ` +
        "(as root, if it ran as root before), or set DROVER_DATA_DIR to another folder.",
    );
  }
  // Whoever owns the data goes on with it.
  return { dataDir, parent, dataFolder, user: user === undefined ? undefined : owner };
}

interface Choice {
  dataDir: string;
  inPlace: string;
  pointer: string;
  elsewhere: string | undefined;
  user: PostgresUser | undefined;
  logger: StorageLogger;
}

async function chooseParent({ dataDir, inPlace, pointer, elsewhere, user, logger }: Choice): Promise<string> {
  if (elsewhere !== undefined) {
    if ((await ownerOf(elsewhere)) !== undefined) return elsewhere;
    // An empty database in place of one that is lost would look like a start that went well.
    throw new StorageStartError(
      `${pointer} says that the database lies in ${elsewhere}, and there is nothing there: ` +
        `restore that folder, or remove ${pointer} to begin with an empty database.`,
    );
  }
  if (user === undefined || (await canEnter(dataDir, user))) return dataDir;
  if ((await ownerOf(inPlace)) !== undefined) {
    throw new StorageStartError(
      `The database in ${inPlace} lies below a folder that PostgreSQL's user ${user.uid} may not enter: ` +
        "let others pass that folder (chmod o+x), or start Drover as an ordinary user.",
    );
  }
  const key = createHash("sha256").update(dataDir).digest("hex").slice(0, 12);
  // A part by chance: a data directory that was removed and made anew must not come back with its old database.
  const parent = await createFolder(join(SYSTEM_FOLDER, `${key}-${randomBytes(4).toString("hex")}`));
  // Whatever the umask: what must stay closed lies in a folder of PostgreSQL's own.
  for (const folder of [SYSTEM_FOLDER, parent]) await chmod(folder, 0o755);
  await writeFile(pointer, `${parent}\n`);
  logger.info(
    { dataDir, database: parent },
    `the database is kept in ${parent}, since PostgreSQL does not run as root and its user may not enter ${dataDir}`,
  );
  return parent;
}

async function createFolder(folder: string): Promise<string> {
  try {
    await mkdir(folder, { recursive: true });
    return await realpath(folder);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new StorageStartError(
      `The folder ${folder} cannot be created (${why}): set DROVER_DATA_DIR to one that this user can write.`,
      error,
    );
  }
}

async function readPointer(pointer: string): Promise<string | undefined> {
  try {
    return (await readFile(pointer, "utf8")).trim();
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw new StorageStartError(`${pointer} cannot be read; start Drover as the user that owns it.`, error);
  }
}

/** Undefined when there is no such file. */
async function ownerOf(path: string): Promise<PostgresUser | undefined> {
  try {
    const { uid, gid } = await stat(path);
    return { uid, gid };
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}
