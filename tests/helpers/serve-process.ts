import { spawn } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const repository = fileURLToPath(new URL("../..", import.meta.url));

export interface ServeOptions {
  /** The checkout whose server runs; this one when left out. */
  root?: string;
  /** Arguments after `serve`. */
  args?: readonly string[];
}

/** `drover serve` as a child process. */
export interface ServeProcess {
  readonly pid: number;
  /** Resolves once it has printed both addresses; rejects with its output if it ends before. */
  readonly listening: Promise<{ httpUrl: string; grpcAddress: string }>;
  /** Resolves when the process has ended, to its exit code or the signal that ended it. */
  readonly exited: Promise<number | NodeJS.Signals>;
  /** Sends a signal, also to a process that has ended. */
  kill(signal: NodeJS.Signals): void;
  /** Standard output and error so far, as they came. */
  output(): string;
}

/** Starts `drover serve` with these settings as its only environment besides PATH and HOME. */
export function spawnServe(
  settings: Readonly<Record<string, string>>,
  { root = repository, args = [] }: ServeOptions = {},
): ServeProcess {
  const bin = join(root, "bin/drover.js");
  const { PATH = "", HOME = "" } = process.env;
  const child = spawn(process.execPath, [bin, "serve", ...args], {
    env: { PATH, HOME, ...settings },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  const exited = new Promise<number | NodeJS.Signals>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve(signal ?? code ?? -1));
  });
  const listening = new Promise<{ httpUrl: string; grpcAddress: string }>((resolve, reject) => {
    const hear = (chunk: Buffer) => {
      output += chunk.toString();
      const httpUrl = /\bon (https?:\/\/\S+)\n/.exec(output)?.[1];
      const grpcAddress = /\bnative gRPC on (\S+)\n/.exec(output)?.[1];
      if (httpUrl !== undefined && grpcAddress !== undefined) resolve({ httpUrl, grpcAddress });
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    exited.then((how) => reject(new Error(`drover serve ended (${how}):\n${output}`)), reject);
  });
  // A test that never asks where it listens must not die of the answer.
  listening.catch(() => {});
  if (child.pid === undefined) throw new Error(`${bin} could not be started`);
  return {
    pid: child.pid,
    listening,
    exited,
    kill: (signal) => void child.kill(signal),
    output: () => output,
  };
}
