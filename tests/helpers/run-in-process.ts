import { main } from "../../src/cli/main.ts";
import type { Ran, RunOptions } from "./run-drover.ts";

let newest: Promise<unknown> = Promise.resolve();

/**
 * Runs a command as the bin does, inside this process: what takes a second by a process takes milliseconds. For commands
 * that come to their end by themselves and read no standard input; one after another, since a process has one environment.
 */
export function runInProcess(args: readonly string[], options: Omit<RunOptions, "stdin"> = {}): Promise<Ran> {
  const ran = newest.then(() => run(args, options));
  newest = ran.catch(() => {});
  return ran;
}

async function run(
  args: readonly string[],
  { env = {}, cwd = process.cwd() }: Omit<RunOptions, "stdin">,
): Promise<Ran> {
  const before = { env: process.env, cwd: process.cwd(), exitCode: process.exitCode };
  const { PATH, HOME } = process.env;
  const stdout = capture(process.stdout);
  const stderr = capture(process.stderr);
  process.env = { PATH, HOME, ...env };
  process.chdir(cwd);
  process.exitCode = undefined;
  try {
    await main([process.execPath, "drover", ...args]);
    return { code: Number(process.exitCode ?? 0), stdout: stdout.text(), stderr: stderr.text() };
  } finally {
    process.env = before.env;
    process.chdir(before.cwd);
    process.exitCode = before.exitCode;
    stdout.release();
    stderr.release();
  }
}

/** Keeps what is written to a stream from it, and remembers it. */
function capture(stream: NodeJS.WriteStream): { text(): string; release(): void } {
  const write = stream.write;
  const chunks: string[] = [];
  // Nothing in the command line waits for a callback or gives an encoding.
  stream.write = (chunk: string | Uint8Array) => {
    chunks.push(typeof chunk === "string" ? chunk : Buffer.from(chunk).toString());
    return true;
  };
  return {
    text: () => chunks.join(""),
    release: () => {
      stream.write = write;
    },
  };
}
