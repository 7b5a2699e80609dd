/** The load generator's side of the bench: it runs in a process of its own and is told what to do by messages. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { BusyAgent } from "./fleet.ts";

/** Who is called, and how. */
export type Target =
  | { kind: "session"; address: string; agents: BusyAgent[] }
  | { kind: "call"; address: string; agents: BusyAgent[] }
  | { kind: "json"; url: string; agents: BusyAgent[] }
  | { kind: "keep-alive"; address: string; leases: number };

export type Order =
  | { do: "open"; target: Target; connections: number }
  /** By so many of the streams: as many as they can, one under way for each, or so many a second in all. */
  | { do: "send"; senders: number; forMs: number; perSecond: number | undefined };

/** What came of sending. */
export interface Sent {
  answered: number;
  perSecond: number;
  /** From when a message was due until its answer; undefined where nothing was measured. */
  p50Ms: number;
  p99Ms: number;
  /** Processor time of the generator itself for each message, in µs. */
  clientUs: number;
}

export class Load {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /** Starts a generator and opens its streams or connections. */
  static async open(target: Target, connections: number): Promise<Load> {
    const child = fork(fileURLToPath(new URL("generator.ts", import.meta.url)), { stdio: "inherit" });
    const load = new Load(child);
    await load.#ask({ do: "open", target, connections });
    return load;
  }

  async send(senders: number, forMs: number, perSecond?: number): Promise<Sent> {
    // The generator answers this order with nothing else.
    return (await this.#ask({ do: "send", senders, forMs, perSecond })) as Sent;
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.disconnect();
    await exited;
  }

  async #ask(order: Order): Promise<unknown> {
    const answer = new Promise((resolve, reject) => {
      this.#child.once("message", resolve);
      this.#child.once("exit", (code) => reject(new Error(`the load generator ended with ${code}`)));
    });
    this.#child.send(order);
    const result = await answer;
    this.#child.removeAllListeners("exit");
    if (typeof result === "object" && result !== null && "failed" in result)
      throw new Error(String(result.failed));
    return result;
  }
}
