/** Everything that a machine can check of the sources without running them. Exits with 1 if one check fails. */
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), "drover-check-"));

interface Check {
  name: string;
  run: () => boolean;
}

function command(line: string, cwd = root): boolean {
  return spawnSync(line, { cwd, shell: true, stdio: "inherit" }).status === 0;
}

/** Generates into a copy and compares: whoever edits a contract must commit what is generated from it. */
function generatedIsFresh(): boolean {
  const copy = join(scratch, "generated");
  for (const name of [
    "proto",
    "scripts",
    ".protos",
    "buf.yaml",
    "buf.gen.yaml",
    "package.json",
    "drizzle.config.ts",
    "src",
  ]) {
    cpSync(join(root, name), join(copy, name), { recursive: true });
  }
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  if (!command("buf generate", copy)) return false;
  if (!command(`diff -r gen ${JSON.stringify(join(root, "gen"))}`, copy)) return false;
  return (
    command("drizzle-kit generate > drizzle.log", copy) &&
    command(`diff -r src/storage/migrations ${JSON.stringify(join(root, "src/storage/migrations"))}`, copy)
  );
}

/**
 * Compares the contract with main's, or on main itself with the commit before. A git input would lack the modules in
 * .protos, so the older protos are unpacked and built beside today's.
 */
function contractIsCompatible(): boolean {
  const base = ["origin/main", "main", "HEAD^"].find(
    (name) => commitOf(name) !== undefined && commitOf(name) !== commitOf("HEAD"),
  );
  if (base === undefined || !exists(`${base}:proto`)) return true;
  const old = join(scratch, "base");
  const image = join(scratch, "base.binpb");
  if (!command(`mkdir -p ${old} && git archive ${base} proto | tar -x -C ${old}`)) return false;
  cpSync(join(root, ".protos"), join(old, ".protos"), { recursive: true });
  cpSync(join(root, "buf.yaml"), join(old, "buf.yaml"));
  return command(`buf build proto -o ${image}`, old) && command(`buf breaking proto --against ${image}`);
}

function commitOf(name: string): string | undefined {
  const found = spawnSync("git", ["rev-parse", "--verify", "--quiet", `${name}^{commit}`], {
    cwd: root,
    encoding: "utf8",
  });
  return found.status === 0 ? found.stdout.trim() : undefined;
}

function exists(object: string): boolean {
  return spawnSync("git", ["cat-file", "-e", object], { cwd: root, stdio: "ignore" }).status === 0;
}

const checks: Check[] = [
  { name: "copy protos", run: () => command("node scripts/copy-protos.ts") },
  { name: "types", run: () => command("tsc --noEmit") },
  { name: "format and lint", run: () => command("biome ci --error-on-warnings .") },
  { name: "buf lint", run: () => command("buf lint") },
  { name: "buf format", run: () => command("buf format proto --diff --exit-code") },
  { name: "buf breaking", run: contractIsCompatible },
  { name: "generated code", run: generatedIsFresh },
  {
    name: "floors",
    run: () => command("vitest run tests/architecture.test.ts --config vitest.static.config.ts"),
  },
];

const failed = checks.filter(({ name, run }) => {
  console.log(`check: ${name}`);
  return !run();
});
rmSync(scratch, { recursive: true, force: true });
for (const { name } of failed) console.error(`check failed: ${name}`);
process.exitCode = failed.length === 0 ? 0 : 1;
