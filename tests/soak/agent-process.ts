import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { EnrolledAgent } from "../helpers/fleet-api.ts";

const script = fileURLToPath(new URL("agent.ts", import.meta.url));

/** An agent whose process may be another one after it was killed. */
export class SoakAgent {
  readonly uuid: string;
  readonly #token: string;
  readonly #args: readonly string[];
  #child: ChildProcess;

  constructor({ uuid, token }: EnrolledAgent, kind: string, urls: readonly string[]) {
    this.uuid = uuid;
    this.#token = token;
    this.#args = [kind, ...urls];
    this.#child = this.#fork();
  }

  #fork(): ChildProcess {
    const { PATH, NODE_COMPILE_CACHE } = process.env;
    return fork(script, this.#args, {
      env: { PATH, NODE_COMPILE_CACHE, DROVER_TOKEN: this.#token },
      stdio: ["ignore", "ignore", "inherit", "ipc"],
      execArgv: [],
    });
  }

  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    this.#child.kill(signal);
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exited;
  }

  /** After `kill`. */
  restart(): void {
    this.#child = this.#fork();
  }
}
