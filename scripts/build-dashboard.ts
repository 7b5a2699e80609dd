/**
 * Builds the dashboard into src/dashboard/dist, each file beside its compressed copies. npm runs it at install, so it
 * does nothing where the sources are those of the last build.
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const root = fileURLToPath(new URL("..", import.meta.url));
const source = join(root, "src/dashboard");
const target = join(source, "dist");
const stampFile = join(target, ".stamp");

function filesBelow(folder: string): string[] {
  return readdirSync(folder)
    .sort()
    .flatMap((name) => {
      const path = join(folder, name);
      if (path === target) return [];
      return statSync(path).isDirectory() ? filesBelow(path) : [path];
    });
}

/** Changes with everything that the build reads. */
function stampOfSources(): string {
  const hash = createHash("sha256");
  const folders = [source, join(root, "gen"), join(root, "src/runtime")];
  const single = [fileURLToPath(import.meta.url), join(root, "package-lock.json")].filter(existsSync);
  for (const file of [...folders.flatMap(filesBelow), ...single]) {
    hash.update(relative(root, file)).update("\0").update(readFileSync(file)).update("\0");
  }
  return hash.digest("hex");
}

async function bundle(): Promise<void> {
  const { build } = await import("vite");
  await build({
    root: source,
    configFile: false,
    logLevel: "warn",
    oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
    build: {
      outDir: target,
      emptyOutDir: true,
      target: "es2022",
      // Everything is a file of its own: the page's policy allows no data: URL and nothing inline.
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
      license: { fileName: "licenses.md" },
      chunkSizeWarningLimit: 1000,
    },
  });
}

function compress(file: string): void {
  const bytes = readFileSync(file);
  const brotli = { params: { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY } };
  for (const [suffix, small] of [
    ["br", brotliCompressSync(bytes, brotli)],
    ["gz", gzipSync(bytes, { level: 9 })],
  ] as const) {
    if (small.length < bytes.length) writeFileSync(`${file}.${suffix}`, small);
  }
}

const stamp = stampOfSources();
if (!existsSync(stampFile) || readFileSync(stampFile, "utf8") !== stamp) {
  rmSync(stampFile, { force: true });
  await bundle();
  readdirSync(target, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .forEach(compress);
  // Last, so that a build that was broken off is done again.
  writeFileSync(stampFile, stamp);
}
