import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { runDrover } from "./helpers/run-drover.ts";
import { createTestDatabase } from "./helpers/test-database.ts";

for (const [setting, other] of [
  ["DROVER_HTTP_ADDR", "DROVER_GRPC_ADDR"],
  ["DROVER_GRPC_ADDR", "DROVER_HTTP_ADDR"],
] as const) {
  test(`an address that is taken stops the start with a sentence that names ${setting}`, async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const address = taken.address();
    if (address === null || typeof address === "string") throw new Error("a TCP server has a port");
    const database = await createTestDatabase();
    const dataDir = await mkdtemp(join(tmpdir(), "drover-test-"));
    try {
      const env = {
        DATABASE_URL: database.url,
        DROVER_DATA_DIR: dataDir,
        [setting]: `127.0.0.1:${address.port}`,
        [other]: "127.0.0.1:0",
      };
      const { code, stderr } = await runDrover(["serve"], { env });
      expect(stderr).toContain(`${setting} names an address that another program uses`);
      expect(code).toBe(2);
    } finally {
      taken.close();
      await database.drop();
      await rm(dataDir, { recursive: true });
    }
  });
}
