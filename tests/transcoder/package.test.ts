import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const page = readFileSync(join(root, "docs/transcoder.md"), "utf8");

/** The commands of the page and what they answer. */
const session = [
  ...(/```console\n([\s\S]+?)```/.exec(page)?.[1] ?? "").matchAll(/^\$ (.+)\n((?:[^$].*\n)*)/gm),
].map(([, command = "", answer = ""]) => ({ command, answer }));

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "drover-package-"));
  buildPackage(join(folder, "drover"));
  const example = join(folder, "drover", "example");
  for (const [, path = "", text = ""] of page.matchAll(/```\w+ file=(\S+)\n([\s\S]+?)```/g)) {
    mkdirSync(dirname(join(example, path)), { recursive: true });
    writeFileSync(join(example, path), text);
  }
  const google = dirname(fileURLToPath(import.meta.resolve("google-proto-files/package.json")));
  for (const name of ["annotations", "http"]) {
    cpSync(join(google, `google/api/${name}.proto`), join(example, `proto/google/api/${name}.proto`));
  }
  execFileSync("buf", ["generate"], { cwd: example });
}, 120_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The package as it is published, in a folder of its own, where it can be imported by its name. */
function buildPackage(target: string): void {
  mkdirSync(target);
  const options = ["-p", join(root, "tsconfig.build.json"), "--outDir", join(target, "dist")];
  execFileSync("tsc", options, { cwd: root });
  cpSync(join(root, "gen"), join(target, "dist/gen"), { recursive: true });
  cpSync(join(root, "bin"), join(target, "bin"), { recursive: true });
  cpSync(join(root, "package.json"), join(target, "package.json"));
  symlinkSync(join(root, "node_modules"), join(target, "node_modules"));
}

describe("the published package", () => {
  test("exports what can be driven from outside", () => {
    const script = `import * as transcoder from "drover/transcoder"; console.log(Object.keys(transcoder).sort().join());`;
    const output = execFileSync(process.execPath, ["--input-type=module", "--eval", script], {
      cwd: join(folder, "drover"),
      encoding: "utf8",
    });
    expect(output.trim().split(",")).toEqual([
      "TemplateError",
      "bindQuery",
      "createTranscoder",
      "describeRoutes",
      "parsePathTemplate",
    ]);
  });

  test("has types that a strict compiler takes", () => {
    const example = join(folder, "drover", "typed");
    mkdirSync(example);
    const source = `import { createTranscoder, type RouteMatch } from "drover/transcoder";
      const match: RouteMatch = createTranscoder({ services: [] }).match("GET", "/");
      if ("status" in match) console.log(match.status satisfies 400 | 404 | 405);`;
    writeFileSync(join(example, "main.ts"), source);
    const options = [
      "--noEmit",
      "--strict",
      "--module",
      "nodenext",
      "--target",
      "es2024",
      "--skipLibCheck",
      "--types",
      "node",
    ];
    expect(() =>
      execFileSync("tsc", [...options, "main.ts"], { cwd: example, encoding: "utf8" }),
    ).not.toThrow();
  });

  test("runs the example of its page, with the answers that the page shows", async () => {
    const server = spawn(process.execPath, ["server.mjs"], {
      cwd: join(folder, "drover", "example"),
      env: { ...process.env, PORT: "0" },
      stdio: ["ignore", "pipe", "inherit"],
    });
    try {
      const [port] = await once(createInterface({ input: server.stdout }), "line");
      expect(session).toHaveLength(5);
      for (const { command, answer } of session) {
        const output = execFileSync("sh", ["-c", command.replace("localhost:8080", `127.0.0.1:${port}`)], {
          encoding: "utf8",
        });
        expect(output.trimEnd()).toBe(answer.trimEnd());
      }
    } finally {
      server.kill();
      await once(server, "exit");
    }
  });
});
