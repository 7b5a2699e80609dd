import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { TokenRole } from "../../gen/drover/v1/token_service_pb.js";
import type { Stage } from "../helpers/stage.ts";

const droverBin = fileURLToPath(new URL("../../bin/drover.js", import.meta.url));

/** An agent in a process of its own. */
export interface AgentProcess {
  readonly name: string;
  /** Its working directory, which its commands share; removed when it ends. */
  readonly folder: string;
  /** Standard output and error so far, as they came. */
  output(): string;
  /** Lines of JSON on its standard output so far. */
  events(): Record<string, unknown>[];
  /** Sends a signal to the process alone. */
  signal(signal: NodeJS.Signals): void;
  /** SIGKILL to it and all of its process group; resolves when it is gone. */
  killGroup(): Promise<void>;
  /** SIGTERM; resolves to how it ended. */
  stop(): Promise<number | NodeJS.Signals>;
}

/** Starts `drover agent run` with these arguments; it enrolls itself by a token minted for it. */
export async function runAgent(stage: Stage, name: string, args: readonly string[]): Promise<AgentProcess> {
  return await startAgent(stage, name, (folder) => [
    droverBin,
    ...["agent", "run", "--name", name, "--state-dir", join(folder, "state"), ...args],
  ]);
}

/** Starts a program as an agent, in the same way; it finds what it needs in DROVER_GRPC_URL and DROVER_TOKEN. */
export async function startAgent(
  stage: Stage,
  name: string,
  programIn: (folder: string) => readonly string[],
): Promise<AgentProcess> {
  const { secret } = await stage.operator.tokens.createToken({ role: TokenRole.ENROLLMENT });
  const folder = await mkdtemp(join(tmpdir(), "drover-agent-"));
  const { PATH = "", HOME = "" } = process.env;
  const child = spawn(process.execPath, programIn(folder), {
    cwd: folder,
    env: { PATH, HOME, DROVER_GRPC_URL: stage.server.grpcTarget, DROVER_TOKEN: secret },
    stdio: ["ignore", "pipe", "pipe"],
    // A group of its own, so that the test can kill all of it and nothing else.
    detached: true,
  });
  return agentProcessOf(child, name, folder);
}

function agentProcessOf(child: ChildProcess, name: string, folder: string): AgentProcess {
  const { pid } = child;
  if (pid === undefined) throw new Error("the agent could not be started");
  let output = "";
  let stdout = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    output += chunk;
    stdout += chunk;
  });
  child.stderr?.on("data", (chunk: Buffer) => {
    output += chunk;
  });
  let running = true;
  const exited = new Promise<number | NodeJS.Signals>((resolve) => {
    child.once("exit", (code, signal) => {
      running = false;
      resolve(signal ?? code ?? -1);
    });
  });
  const ended = async () => {
    const how = await exited;
    await rm(folder, { recursive: true, force: true });
    return how;
  };
  return {
    name,
    folder,
    output: () => output,
    events: () =>
      stdout
        .split("\n")
        .slice(0, -1)
        .map((line): Record<string, unknown> => JSON.parse(line)),
    signal: (signal) => void child.kill(signal),
    async killGroup() {
      // Once it was reaped its number may be another's.
      if (running) process.kill(-pid, "SIGKILL");
      await ended();
    },
    async stop() {
      child.kill("SIGTERM");
      return await ended();
    },
  };
}
