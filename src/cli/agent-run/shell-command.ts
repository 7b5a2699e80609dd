import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { GroupGuard } from "./group-guard.ts";
import { LineSplitter } from "./line-splitter.ts";
import { OutputTail } from "./output-tail.ts";

export interface ShellCommand {
  readonly command: string;
  /** What it reads on standard input. */
  readonly input: string;
  readonly env: NodeJS.ProcessEnv;
  /** Aborted, it gets SIGTERM, and SIGKILL after `graceMs()`; the whole process group does. */
  readonly signal: AbortSignal;
  readonly graceMs: () => number;
  /** Hears each line of standard error. True: the line was for the agent and is no part of the output. */
  readonly onLine: (line: string) => boolean;
  readonly guard: GroupGuard;
}

export interface CommandEnd {
  /** Undefined where a signal ended it. */
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  readonly stdout: OutputTail;
  readonly stderr: OutputTail;
}

const STDOUT_BYTES = 64 * 1024;
const STDERR_BYTES = 3000;
// How long output may still come after the shell has ended, from processes that it left behind.
const LAST_OUTPUT_MS = 1000;
const POLL_MS = 50;
// A process that the kernel cannot end, or one that nobody reaps, must not hold the agent for ever.
const AFTER_KILL_MS = 2000;

/** Tells the guard of the group, and becomes the shell that runs the command. */
const GUARDED = 'echo "add $$" >&3; exec 3>&-; exec /bin/sh -c "$1"';

/** Runs a command by the shell to its end, in a process group of its own, of which nothing is left afterwards. */
export async function runShellCommand(options: ShellCommand): Promise<CommandEnd> {
  const { command, input, env, signal, guard } = options;
  signal.throwIfAborted();
  const child = spawn("/bin/sh", ["-c", GUARDED, "sh", command], {
    detached: true,
    stdio: ["pipe", "pipe", "pipe", guard.input ?? "ignore"],
    env,
  });
  const closed = once(child, "close");
  // Awaited below; here only so that a failure in between is nobody's unhandled one.
  closed.catch(() => undefined);
  await once(child, "spawn");
  const group = child.pid ?? 0; // set once it was spawned
  let stopping: Promise<void> | undefined;
  const stop = () => {
    stopping = endGroup(group, options.graceMs());
  };
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();
  const { stdout, stderr } = collectOutput(child, options.onLine);
  // A command that does not read its input is none the worse for it.
  child.stdin?.on("error", () => undefined);
  child.stdin?.end(input);
  try {
    const [exitCode, endSignal] = await exitOf(child);
    await Promise.race([closed, after(LAST_OUTPUT_MS)]);
    return { exitCode: exitCode ?? undefined, signal: endSignal ?? undefined, stdout, stderr };
  } finally {
    signal.removeEventListener("abort", stop);
    // What a command leaves behind in its group ends with it.
    await (stopping ?? endGroup(group, 0));
    child.stdout?.destroy();
    child.stderr?.destroy();
    guard.remove(group);
  }
}

function collectOutput(child: ChildProcess, onLine: (line: string) => boolean) {
  const stdout = new OutputTail(STDOUT_BYTES);
  const stderr = new OutputTail(STDERR_BYTES);
  const lines = new LineSplitter((line) => {
    if (!onLine(line)) stderr.write(Buffer.from(`${line}\n`));
  });
  child.stdout?.on("data", (chunk: Buffer) => stdout.write(chunk));
  child.stderr?.on("data", (chunk: Buffer) => lines.write(chunk));
  child.stderr?.on("end", () => lines.end());
  return { stdout, stderr };
}

function exitOf(child: ChildProcess): Promise<[number | null, NodeJS.Signals | null]> {
  if (child.exitCode !== null || child.signalCode !== null)
    return Promise.resolve([child.exitCode, child.signalCode]);
  return new Promise((resolve) => child.once("exit", (code, signal) => resolve([code, signal])));
}

/** Ends a process group: SIGTERM, SIGKILL after `graceMs`; resolves when it is gone. */
async function endGroup(group: number, graceMs: number): Promise<void> {
  if (graceMs > 0 && sendTo(group, "SIGTERM") && (await isGoneWithin(group, graceMs))) return;
  if (sendTo(group, "SIGKILL")) await isGoneWithin(group, AFTER_KILL_MS);
}

async function isGoneWithin(group: number, ms: number): Promise<boolean> {
  const endsAtMs = performance.now() + ms;
  // Nothing tells of the end of processes that are not children of this one.
  while (sendTo(group, 0)) {
    const leftMs = endsAtMs - performance.now();
    if (leftMs <= 0) return false;
    await after(Math.min(POLL_MS, leftMs));
  }
  return true;
}

/** False where the group has no process (any more). */
function sendTo(group: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-group, signal);
  } catch (error) {
    // EPERM: it lives, as somebody else.
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

function after(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
