import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";

const droverBin = fileURLToPath(new URL("../../bin/drover.js", import.meta.url));

export interface Ran {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  /** Variables besides PATH and HOME; nothing else of the test's own environment is passed on. */
  env?: Record<string, string>;
  cwd?: string;
  /** What it reads on standard input; nothing when left out. */
  stdin?: string;
}

/** Starts the real bin with an environment that names no server and no token but the given ones. */
export function startDrover(
  args: readonly string[],
  { env = {}, cwd, stdin }: RunOptions = {},
): ChildProcess {
  const { PATH, HOME } = process.env;
  const child = spawn(process.execPath, [droverBin, ...args], {
    env: { PATH, HOME, ...env },
    cwd,
    stdio: [stdin === undefined ? "ignore" : "pipe", "pipe", "pipe"],
  });
  child.stdin?.end(stdin);
  return child;
}

/** Runs the real bin to its end. */
export async function runDrover(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const child = startDrover(args, options);
  if (child.stdout === null || child.stderr === null) throw new Error("the child has no pipes");
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, "close"),
  ]);
  return { code, stdout, stderr };
}
