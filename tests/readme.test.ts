import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Block, blocksOf, readersFolder, root, runShell } from "./helpers/doc-blocks.ts";
import { type BrowserPage, openBrowserPage } from "./helpers/readme-page.ts";
import { type ServeProcess, spawnServe } from "./helpers/serve-process.ts";

const blocks: Block[] = await blocksOf("README.md");
const commands = blocks.filter(({ language }) => language === "sh").map(({ code }) => code);

function fileBlock(name: string): string {
  const block = blocks.find(({ file }) => file === name);
  if (block === undefined) throw new Error(`the README has no file ${name}`);
  return block.code;
}

describe("the README's two commands", () => {
  test("the first one installs and starts, the second installs and tests", async () => {
    expect(commands.slice(0, 2)).toEqual(["npm install && npm start\n", "npm install && npm test\n"]);
    const { scripts } = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
    expect(scripts.start).toBe("exec node bin/drover.js serve");
    expect(scripts.test).toBe("vitest run");
  });

  test("continuous integration types the second one", async () => {
    expect(await readFile(join(root, ".ci/run"), "utf8")).toContain("\nnpm install && npm test\n");
  });
});

describe("the README's five minutes", () => {
  let folder: string;
  let remove: () => Promise<void>;
  let server: ServeProcess;
  let page: BrowserPage;
  let httpUrl: string;
  let grpcAddress: string;

  beforeAll(async () => {
    ({ path: folder, remove } = await readersFolder());
    page = await openBrowserPage();
    server = spawnServe({
      DROVER_DATA_DIR: join(folder, ".drover"),
      DROVER_HTTP_ADDR: "127.0.0.1:0",
      DROVER_GRPC_ADDR: "127.0.0.1:0",
      DROVER_CORS_ORIGINS: page.origin,
      // As the tour says: with the default settings its lost tasks move after a minute.
      DROVER_HEARTBEAT_INTERVAL: "1s",
      DROVER_OFFLINE_GRACE: "1s",
      DROVER_LEASE: "4s",
    });
    ({ httpUrl, grpcAddress } = await server.listening);
  });

  afterAll(async () => {
    server?.kill("SIGTERM");
    await server?.exited;
    await page?.close();
    await remove?.();
  });

  /** The default addresses may be in use on the machine that tests; everything else is run as it stands. */
  const atHome = (code: string) =>
    code.replaceAll("http://127.0.0.1:8080", httpUrl).replaceAll("127.0.0.1:9090", grpcAddress);

  test("the tour runs as it is written", { timeout: 180_000 }, async () => {
    await writeFile(join(folder, "beat.mjs"), atHome(fileBlock("beat.mjs")));
    const script = commands.slice(2).map(atHome).join("\n");
    // Agents that the tour starts end with it, however it ends.
    const prelude = "set -eu; trap 'kill $(jobs -p) 2>/dev/null || true' EXIT";
    const addresses = { DROVER_URL: httpUrl, DROVER_GRPC_URL: grpcAddress };
    const output = await runShell(`${prelude}\n${script}`, folder, addresses);
    expect(output).toContain('"agentStatus":"online"');
    expect(output).toContain('"transition":{"from":"online","to":"error"');
    expect(output).toMatch(/gpu-1 +error/);
    expect(output).toContain("driver lost");
    expect(output).not.toContain("hunter2");
    expect(output).toMatch(/status: error → online/);
    expect(output).toContain("acknowledged: true, next in 1 s");
    expect(output).toMatch(/succeeded +5 +2 +hash-2/);
    expect(output).toMatch(/liveness: live → offline/);
  });

  test("the browser's snippet sees the fleet from another origin", { timeout: 60_000 }, async () => {
    await writeFile(join(folder, "fleet.js"), atHome(fileBlock("fleet.js")));
    const token = (await readFile(join(folder, ".drover/operator.token"), "utf8")).trim();
    expect(await page.call(join(folder, "fleet.js"), "agentNames", token)).toEqual(
      expect.arrayContaining(["gpu-1 is 2", "native-1 is 3"]),
    );
  });
});
