import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { EnrolledAgent } from "../helpers/fleet-api.ts";

const script = fileURLToPath(new URL("holding-agents.ts", import.meta.url));

/** Agents with streams that live in one process and die together; each holds a task of its kind. */
export class AgentGroup {
  readonly agents: readonly EnrolledAgent[];
  readonly #args: readonly string[];
  #child: ChildProcess;

  /** `urls`: the native doors of all servers. */
  constructor(agents: readonly EnrolledAgent[], kind: string, urls: readonly string[]) {
    this.agents = agents;
    this.#args = [kind, ...urls];
    this.#child = this.#fork();
  }

  #fork(): ChildProcess {
    const { PATH, NODE_COMPILE_CACHE } = process.env;
    return fork(script, this.#args, {
      env: { PATH, NODE_COMPILE_CACHE, DROVER_TOKENS: this.agents.map(({ token }) => token).join(",") },
      stdio: ["ignore", "ignore", "inherit", "ipc"],
      execArgv: [],
    });
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exited;
  }

  /** After `kill`: the same agents, as new runs. */
  restart(): void {
    this.#child = this.#fork();
  }

  /** Lets every task come to its end that one of them has or gets. */
  finish(): void {
    this.#child.send("finish");
  }
}
