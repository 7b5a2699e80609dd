import { existsSync, readdirSync } from "node:fs";
import { mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseDatabaseUrl } from "../../src/storage/database-url.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { ask, createDataDir, isRunning, postmasterPid, startServer } from "./server-process.ts";

test("starts, stops, and finds what was written when it starts again", async () => {
  const dataDir = await createDataDir();
  const first = startServer(dataDir);
  const url = await first.serves;
  await ask(url, "CREATE TABLE kept AS SELECT 41 + 1 AS answer");
  const pid = await postmasterPid(dataDir);
  expect(await first.hears("SIGTERM")).toBe(0);
  expect(isRunning(pid)).toBe(false);

  const second = startServer(dataDir);
  expect(await ask(await second.serves, "SELECT answer FROM kept")).toEqual([{ answer: 42 }]);
});

test("listens on a Unix socket in a closed folder, and on no TCP port", async () => {
  const dataDir = await createDataDir();
  const url = await startServer(dataDir).serves;
  expect(await ask(url, "SHOW listen_addresses")).toEqual([{ listen_addresses: "" }]);
  const folder = parseDatabaseUrl(url).host ?? "";
  const { mode } = await stat(folder);
  expect(mode & 0o777).toBe(0o700);
  expect(Buffer.byteLength(`${folder}/.s.PGSQL.5432`)).toBeLessThanOrEqual(107);
});

test("writes through to the disk unless told otherwise, in UTF-8", async () => {
  const dataDir = await createDataDir();
  const url = await startServer(dataDir, { settings: ["fsync=on"] }).serves;
  expect(
    await ask(url, "SELECT current_setting('fsync') AS f, current_setting('synchronous_commit') AS s"),
  ).toEqual([{ f: "on", s: "on" }]);
  expect(
    await ask(url, "SELECT upper('garçon é') AS upper, current_setting('server_encoding') AS e"),
  ).toEqual([{ upper: "GARÇON É", e: "UTF8" }]);
});

test("a server killed with SIGKILL leaves a PostgreSQL that the next one replaces, and nothing is lost", async () => {
  const dataDir = await createDataDir();
  const first = startServer(dataDir);
  await ask(await first.serves, "CREATE TABLE kept AS SELECT 1 AS n");
  const left = await postmasterPid(dataDir);
  expect(await first.hears("SIGKILL")).toBe("SIGKILL");
  expect(isRunning(left)).toBe(true);

  const second = startServer(dataDir);
  expect(await ask(await second.serves, "SELECT n FROM kept")).toEqual([{ n: 1 }]);
  expect(isRunning(left)).toBe(false);
  expect(await postmasterPid(dataDir)).not.toBe(left);
  expect(second.said).toContainEqual(expect.objectContaining({ pid: left }));
});

test("replaces a left PostgreSQL that is halted, and one whose data directory was removed under it", async () => {
  const dataDir = await createDataDir();
  const first = startServer(dataDir);
  await first.serves;
  const left = await postmasterPid(dataDir);
  await first.hears("SIGKILL");
  process.kill(left, "SIGSTOP");
  const second = startServer(dataDir);
  await second.serves;
  expect(isRunning(left)).toBe(false);

  const orphan = await postmasterPid(dataDir);
  await second.hears("SIGKILL");
  await rm(dataDir, { recursive: true });
  await mkdir(dataDir);
  await startServer(dataDir).serves;
  expect(isRunning(orphan)).toBe(false);
});

test("takes no notice of a pid file whose number is another process's", async () => {
  const dataDir = await createDataDir();
  const first = startServer(dataDir);
  await first.serves;
  const pidFile = join(dataDir, "postgres", "postmaster.pid");
  const lines = (await readFile(pidFile, "utf8")).split("\n");
  await first.hears("SIGTERM");
  // As after a reboot: the number belongs to someone else now, here to this process.
  await writeFile(pidFile, [process.pid, ...lines.slice(1)].join("\n"));
  const second = startServer(dataDir);
  await second.serves;
  expect(isRunning(process.pid)).toBe(true);
  expect(await postmasterPid(dataDir)).not.toBe(process.pid);
});

test("a PostgreSQL that is killed under a server is started again", async () => {
  const dataDir = await createDataDir();
  const server = startServer(dataDir);
  const url = await server.serves;
  await ask(url, "CREATE TABLE kept AS SELECT 1 AS n");
  for (let round = 1; round <= 2; round += 1) {
    const pid = await postmasterPid(dataDir);
    process.kill(pid, "SIGKILL");
    await waitFor(
      () => server.said.filter(({ message }) => message === "PostgreSQL runs again").length === round,
      {
        timeoutMs: 20_000,
        what: "the new start",
      },
    );
    expect(await ask(url, "SELECT n FROM kept")).toEqual([{ n: 1 }]);
  }
  const last = await postmasterPid(dataDir);
  expect(await server.hears("SIGTERM")).toBe(0);
  expect(isRunning(last)).toBe(false);
});

test("a second server on one data directory says so in one sentence and ends; the first goes on", async () => {
  const dataDir = await createDataDir();
  const first = startServer(dataDir);
  const url = await first.serves;
  const second = startServer(dataDir);
  await expect(second.serves).rejects.toThrow(
    `Another Drover server (process ${first.child.pid}) runs on the data directory ${dataDir}; ` +
      "stop it, or give this one a directory of its own with DROVER_DATA_DIR.",
  );
  expect(await second.ended).toBe(1);
  expect(await ask(url, "SELECT 1 AS n")).toEqual([{ n: 1 }]);
});

test("of two that start at once on a fresh directory one serves", async () => {
  const dataDir = await createDataDir();
  const outcomes = await Promise.allSettled([startServer(dataDir).serves, startServer(dataDir).serves]);
  expect(outcomes.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
});

test("PostgreSQL ends with a server that exits without stopping it", async () => {
  const dataDir = await createDataDir();
  const server = startServer(dataDir);
  await server.serves;
  const pid = await postmasterPid(dataDir);
  expect(await server.hears("SIGUSR2")).toBe(7);
  await waitFor(() => !isRunning(pid), { what: "PostgreSQL's end" });
  expect(existsSync(join(dataDir, "postgres", "postmaster.pid"))).toBe(false);
});

test("a first start that was cut short begins anew", async () => {
  const dataDir = await createDataDir();
  const first = startServer(dataDir);
  await waitFor(() => unfinished(dataDir).some((name) => existsSync(join(dataDir, name, "base"))), {
    everyMs: 1,
    what: "the making of the data folder",
  });
  await first.hears("SIGKILL");
  expect(existsSync(join(dataDir, "postgres"))).toBe(false);
  const second = startServer(dataDir);
  expect(await ask(await second.serves, "SELECT 1 AS n")).toEqual([{ n: 1 }]);
  await second.hears("SIGTERM");
  // The program that was making it went on for a while by itself.
  const cleaned = async () => {
    const later = startServer(dataDir);
    await later.serves;
    await later.hears("SIGTERM");
    return unfinished(dataDir).length === 0;
  };
  await waitFor(cleaned, { timeoutMs: 20_000, what: "the removal of the half-made folder" });
});

test("a setting that PostgreSQL refuses fails the start, in its own words, and leaves nothing behind", async () => {
  const dataDir = await createDataDir();
  const failing = startServer(dataDir, { settings: ["shared_buffers=many"] });
  await expect(failing.serves).rejects.toThrow(
    /PostgreSQL did not start.*invalid value for parameter "shared_buffers"/s,
  );
  expect(await failing.ended).toBe(1);
  // The lock went with it.
  await startServer(dataDir).serves;
});

test("data of another version of PostgreSQL is named as such", async () => {
  const dataDir = await createDataDir();
  const server = startServer(dataDir);
  await server.serves;
  await server.hears("SIGTERM");
  await writeFile(join(dataDir, "postgres", "PG_VERSION"), "17\n");
  await expect(startServer(dataDir).serves).rejects.toThrow(
    /was made by PostgreSQL 17, and this Drover brings PostgreSQL 18/,
  );
});

function unfinished(dataDir: string): string[] {
  return readdirSync(dataDir).filter((name) => name.startsWith("postgres.new-"));
}
