import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));

/** A fenced block of a page. */
export interface Block {
  language: string;
  /** The file that the reader is told to save it as. */
  file: string | undefined;
  /** A program that its commands need and that the project does not bring. */
  needs: string | undefined;
  code: string;
}

/** The fenced blocks of a page of ours, by its path from the root. */
export async function blocksOf(page: string): Promise<Block[]> {
  const source = await readFile(join(root, page), "utf8");
  return [...source.matchAll(/^```(\S*)(?: file=(\S+))?(?: needs=(\S+))?\n(.*?)^```$/gms)].map((match) => ({
    language: match[1] ?? "",
    file: match[2],
    needs: match[3],
    code: match[4] ?? "",
  }));
}

/** A folder as a reader has it: the checkout's files, and nothing else of it. */
export async function readersFolder(): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), "drover-reader-"));
  // Otherwise a server of root keeps its database elsewhere, where nobody would remove it.
  await chmod(path, 0o755);
  for (const name of ["node_modules", "gen", "bin", "scripts", "src", "package.json"]) {
    await symlink(join(root, name), join(path, name));
  }
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

/** Saves the files that a page tells its reader to save. */
export async function saveFiles(
  blocks: Block[],
  folder: string,
  adapt: (code: string) => string,
): Promise<void> {
  for (const { file, code } of blocks) {
    if (file !== undefined) await writeFile(join(folder, file), adapt(code));
  }
}

/** What a shell printed; rejects with it when a command failed. */
export async function runShell(script: string, cwd: string, env: Record<string, string>): Promise<string> {
  const { PATH = "", HOME = "" } = process.env;
  const shell = spawn("bash", ["-c", script], {
    cwd,
    env: { PATH, HOME, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr, [code]] = await Promise.all([
    text(shell.stdout),
    text(shell.stderr),
    once(shell, "close"),
  ]);
  if (code !== 0) throw new Error(`the shell ended with ${code}:\n${stdout}\n${stderr}`);
  return stdout;
}
