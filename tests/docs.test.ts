import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { settings } from "../src/config.ts";
import { blocksOf, readersFolder, root, runShell, saveFiles } from "./helpers/doc-blocks.ts";
import { type ServeProcess, spawnServe } from "./helpers/serve-process.ts";

const pages = [
  "README.md",
  ...readdirSync(join(root, "docs"))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`),
];

/** Python and Go are the reader's to have; what the project brings is always there. */
const isThere = (program: string | undefined) =>
  program === undefined || spawnSync("sh", ["-c", `command -v ${program}`]).status === 0;

describe("commands of the pages, run as they are written", () => {
  let folder: string;
  let remove: () => Promise<void>;
  let server: ServeProcess;
  let httpUrl: string;
  let grpcAddress: string;

  beforeAll(async () => {
    ({ path: folder, remove } = await readersFolder());
    server = spawnServe({
      DROVER_DATA_DIR: join(folder, ".drover"),
      DROVER_HTTP_ADDR: "127.0.0.1:0",
      DROVER_GRPC_ADDR: "127.0.0.1:0",
    });
    ({ httpUrl, grpcAddress } = await server.listening);
  });

  afterAll(async () => {
    server?.kill("SIGTERM");
    await server?.exited;
    await remove?.();
  });

  const atHome = (code: string) =>
    code.replaceAll("http://127.0.0.1:8080", httpUrl).replaceAll("127.0.0.1:9090", grpcAddress);

  async function run(page: string): Promise<string> {
    const blocks = await blocksOf(page);
    await saveFiles(blocks, folder, atHome);
    const commands = blocks.filter(({ language, needs }) => language === "sh" && isThere(needs));
    const script = commands.map(({ code }) => atHome(code)).join("\n");
    // The addresses are for the doctor, who looks where the server's settings say.
    const addresses = { DROVER_HTTP_ADDR: new URL(httpUrl).host, DROVER_GRPC_ADDR: grpcAddress };
    return await runShell(`set -eu\n${script}`, folder, { DROVER_URL: httpUrl, ...addresses });
  }

  test("docs/api.md", { timeout: 240_000 }, async () => {
    const output = await run("docs/api.md");
    expect(output).toContain('"result":"Hello, Ada"');
    expect(output).toMatch(/^\{.*"type":"task\.created".*\}$/m);
    expect(output).toMatch(/^id: ?\S+$/m);
    expect(output).toMatch(/^heard task\.created of task_/m);
    expect(output).toMatch(/^\{"tasks":\[\],"more":false\}1 agent is draining\.\n1 agent is uncordoned\.$/m);
    const others = ["python3", "go"].filter(isThere).length;
    expect(output.match(/\bsucceeded$/gm) ?? []).toHaveLength(others);
    const tasks = await runShell("npx drover tasks --kind greet --state succeeded", folder, {
      DROVER_URL: httpUrl,
    });
    expect(tasks.match(/succeeded/g)).toHaveLength(2 + others);
  });

  test("docs/operations.md", { timeout: 60_000 }, async () => {
    const output = await run("docs/operations.md");
    expect(output).toMatch(/^ok +server +http\S+ answers, and is ready\.$/m);
    expect(output).toContain('"status":"ok"');
    expect(output).toMatch(/^drover_agents_lost_total \d+$/m);
    const page = await readFile(join(root, "docs/operations.md"), "utf8");
    const scraped = await (await fetch(`${httpUrl}/metrics`)).text();
    const named = [...page.matchAll(/`(drover_[a-z_]+)`/g)].map((match) => match[1] ?? "");
    expect(named.filter((name) => !scraped.includes(`# TYPE ${name} `))).toEqual([]);
    // What is said of settings is so.
    const rows = [...page.matchAll(/^\| `(DROVER_[A-Z_]+)` \|.*\| (\w+) \|$/gm)];
    expect(rows.length).toBeGreaterThan(8);
    for (const [, env, byDefault] of rows)
      expect(settings.find((setting) => setting.env === env)?.default, env).toBe(byDefault);
  });

  test("docs/security.md", { timeout: 60_000 }, async () => {
    expect(await run("docs/security.md")).toMatch(/^drv_opr_\S+\ndrv_vwr_\S+\n$/);
  });
});

describe.each(pages)("%s", (page) => {
  const source = readFileSync(join(root, page), "utf8");

  test("links to files and headings that exist", () => {
    const targets = [...source.matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1] ?? "");
    const broken = targets.filter((target) => !/^https?:/.test(target) && !leads(page, target));
    expect(broken).toEqual([]);
  });
});

function leads(page: string, target: string): boolean {
  const [path = "", heading] = target.split("#");
  const file = path === "" ? page : join(dirname(page), path);
  try {
    if (heading === undefined)
      return readdirSync(join(root, dirname(file))).includes(file.split("/").at(-1) ?? "");
    const headings = [...readFileSync(join(root, file), "utf8").matchAll(/^#+ (.+)$/gm)];
    return headings.some((match) => slugOf(match[1] ?? "") === heading);
  } catch {
    return false;
  }
}

function slugOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-");
}
