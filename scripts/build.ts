/** Compiles the published package into dist: sources, generated code and migrations in the layout of the checkout. */
import { spawnSync } from "node:child_process";
import { cpSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
rmSync(`${root}dist`, { recursive: true, force: true });
const compiled = spawnSync("tsc -p tsconfig.build.json", { cwd: root, stdio: "inherit", shell: true });
if (compiled.status !== 0) process.exit(1);
cpSync(`${root}gen`, `${root}dist/gen`, { recursive: true });
cpSync(`${root}src/storage/migrations`, `${root}dist/src/storage/migrations`, { recursive: true });
const built = spawnSync("node scripts/build-dashboard.ts", { cwd: root, stdio: "inherit", shell: true });
if (built.status !== 0) process.exit(1);
cpSync(`${root}src/dashboard/dist`, `${root}dist/src/dashboard/dist`, { recursive: true });
