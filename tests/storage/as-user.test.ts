/** Who PostgreSQL runs as, and where its files lie, for root and for an ordinary user. */
import { chmod, chown, cp, mkdir, mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import { ask, createDataDir, postmasterPid, startServer } from "./server-process.ts";

const isRoot = process.getuid?.() === 0;
const NOBODY = 65534;
// Root can play another user only where that user could read the checkout.
const playsOthers = isRoot && (await isOpen(dirname(fileURLToPath(import.meta.url))));

async function isOpen(folder: string): Promise<boolean> {
  const { mode } = await stat(folder);
  if ((mode & 0o001) === 0) return false;
  return dirname(folder) === folder || (await isOpen(dirname(folder)));
}

async function ownerOfProcess(pid: number): Promise<number> {
  return (await stat(`/proc/${pid}`)).uid;
}

/** A data directory below a folder that only its owner, this user, may enter. */
async function createClosedHome(): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), "drover-home-"));
  await chmod(home, 0o700);
  const dataDir = join(home, "project", ".drover");
  onTestFinished(async () => {
    const elsewhere = await readFile(join(dataDir, "postgres.location"), "utf8").catch(() => "");
    if (elsewhere.trim() !== "") await rm(elsewhere.trim(), { recursive: true });
    await rm(home, { recursive: true });
  });
  return dataDir;
}

test("an ordinary user's PostgreSQL runs as that user, in the data directory", async () => {
  const dataDir = await createDataDir();
  const uid = isRoot ? NOBODY : (process.getuid?.() ?? 0);
  if (isRoot) await chown(dataDir, uid, uid);
  const server = startServer(dataDir, playsOthers ? { uid } : {});
  expect(await ask(await server.serves, "SELECT 1 AS n")).toEqual([{ n: 1 }]);
  expect(await ownerOfProcess(await postmasterPid(dataDir))).toBe(uid);
  expect((await stat(join(dataDir, "postgres"))).mode & 0o777).toBe(0o700);
});

// What root does can be seen only by root; an ordinary user checks that a closed home is no matter to it.
describe(isRoot ? "as root" : "as an ordinary user", () => {
  test("in an open folder PostgreSQL runs in place", async () => {
    const dataDir = await createDataDir();
    await startServer(dataDir).serves;
    const expected = isRoot ? NOBODY : process.getuid?.();
    expect(await ownerOfProcess(await postmasterPid(dataDir))).toBe(expected);
    expect(await readdir(dataDir)).not.toContain("postgres.location");
  });

  test("below a closed home it serves, and finds its data again", async () => {
    const dataDir = await createClosedHome();
    const first = startServer(dataDir, { umask: "077" });
    await ask(await first.serves, "CREATE TABLE kept AS SELECT 1 AS n");
    await first.hears("SIGTERM");
    const second = startServer(dataDir);
    expect(await ask(await second.serves, "SELECT n FROM kept")).toEqual([{ n: 1 }]);
    await second.hears("SIGTERM");
    if (!isRoot) return;
    const elsewhere = (await readFile(join(dataDir, "postgres.location"), "utf8")).trim();
    expect(elsewhere).toMatch(/^\/var\/lib\/drover\/[0-9a-f]{12}-[0-9a-f]{8}$/);
    expect(await readdir(dataDir)).not.toContain("postgres");
    expect((await stat(join(elsewhere, "postgres"))).uid).toBe(NOBODY);
    expect(first.said).toContainEqual(expect.objectContaining({ database: elsewhere }));
  });

  test("a database that is not where it should be stops the start, rather than an empty one taking its place", async () => {
    const dataDir = await createClosedHome();
    if (!isRoot) await mkdir(dataDir, { recursive: true });
    const first = startServer(dataDir);
    await first.serves;
    await first.hears("SIGTERM");
    if (!isRoot) return;
    const elsewhere = (await readFile(join(dataDir, "postgres.location"), "utf8")).trim();
    const away = `${elsewhere}-away`;
    await cp(elsewhere, away, { recursive: true });
    await rm(elsewhere, { recursive: true });
    try {
      await expect(startServer(dataDir).serves).rejects.toThrow(
        /and there is nothing there: restore that folder/,
      );
    } finally {
      await cp(away, elsewhere, { recursive: true });
      await rm(away, { recursive: true });
    }
  });

  test("a data folder of another user is refused in plain words", async () => {
    const dataDir = await createDataDir();
    const first = startServer(dataDir);
    await first.serves;
    await first.hears("SIGTERM");
    if (!playsOthers) return;
    await chown(dataDir, 65533, 65533);
    await expect(startServer(dataDir, { uid: 65533 }).serves).rejects.toThrow(
      /belongs to user 65534: start Drover as that user/,
    );
    const closed = await createDataDir();
    await chmod(closed, 0o555);
    await expect(startServer(closed, { uid: 65533 }).serves).rejects.toThrow(
      `The data directory ${closed} cannot be written (unable to open database file): set DROVER_DATA_DIR`,
    );
  });
});
