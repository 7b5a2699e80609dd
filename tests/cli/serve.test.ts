import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { expect, test } from "vitest";
import { startDrover } from "../helpers/run-drover.ts";
import { runInProcess } from "../helpers/run-in-process.ts";
import { createTestDatabase } from "../helpers/test-database.ts";

test("serve and db migrate say by --json what they say in words otherwise", async () => {
  const database = await createTestDatabase();
  const dataDir = await mkdtemp(join(tmpdir(), "drover-test-"));
  const env = { DATABASE_URL: database.url, DROVER_DATA_DIR: dataDir };
  try {
    const migrated = await runInProcess(["db", "migrate", "--json"], { env });
    expect(migrated).toMatchObject({ code: 0, stdout: '{"upToDate":true}\n' });

    const args = ["serve", "--json", "--http-addr", "127.0.0.1:0", "--grpc-addr", "127.0.0.1:0"];
    const child = startDrover(args, { env });
    if (child.stdout === null) throw new Error("the child has no pipe");
    const printed = text(child.stdout);
    await once(child.stdout, "data");
    const exited = once(child, "exit");
    child.kill("SIGTERM");
    expect(await exited).toEqual([0, null]);
    const [line = "", ...rest] = (await printed).split("\n");
    expect(rest).toEqual([""]);
    const news = JSON.parse(line);
    expect(news).toEqual({
      http: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
      grpc: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
      operatorTokenFile: join(dataDir, "operator.token"),
      dashboard: expect.stringContaining(`${news.http}/#/sign-in/`),
    });
  } finally {
    await database.drop();
    await rm(dataDir, { recursive: true });
  }
});
