/** The sides of a contest in taking and ending tasks: each works in a process of its own, and is told what to do by messages. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

/** How a contender works; it is tried with several and keeps the best. */
export interface Setting {
  /** Agents, workers or loops at once. */
  concurrency: number;
  /** Tasks that one of them takes at a time. */
  batch: number;
}

export type Order<Opening> =
  | ({ do: "open" } & Opening)
  /** Takes and ends so many tasks, as fast as it can. */
  | ({ do: "drain"; tasks: number } & Setting)
  /** Creates so many tasks, one after the other, each for a worker that has nothing to do. */
  | { do: "await"; tasks: number };

/** What came of draining. */
export interface Drained {
  perSecond: number;
  /** Processor time of the contender's own process for each task, in µs. */
  processUs: number;
}

/** From before a task's creation was asked for until its work could begin, in ms, each. */
export type Latencies = number[];

/** A contender's process, as whoever started it sees it. */
export class Contender<Opening> {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async open<Opening>(script: string, opening: Opening): Promise<Contender<Opening>> {
    const child = fork(fileURLToPath(new URL(script, import.meta.url)), { stdio: "inherit" });
    const contender = new Contender<Opening>(child);
    await contender.#ask({ do: "open", ...opening });
    return contender;
  }

  async drain(setting: Setting, tasks: number): Promise<Drained> {
    // It answers this order with nothing else.
    return (await this.#ask({ do: "drain", tasks, ...setting })) as Drained;
  }

  async await(tasks: number): Promise<Latencies> {
    // It answers this order with nothing else.
    return (await this.#ask({ do: "await", tasks })) as Latencies;
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.disconnect();
    await exited;
  }

  async #ask(order: Order<Opening>): Promise<unknown> {
    const answer = new Promise((resolve, reject) => {
      this.#child.once("message", resolve);
      this.#child.once("exit", (code) => reject(new Error(`a contender ended with ${code}`)));
    });
    this.#child.send(order);
    const result = await answer;
    this.#child.removeAllListeners("exit");
    if (typeof result === "object" && result !== null && "failed" in result)
      throw new Error(String(result.failed));
    return result;
  }
}

/** Answers orders in a contender's process until its parent lets go of it. */
export function serve<Opening>(
  obey: (order: Order<Opening>) => Promise<Drained | Latencies | undefined>,
): void {
  process.on("message", (order: Order<Opening>) => {
    obey(order).then((answer) => process.send?.(answer ?? "done"), fail);
  });
  process.on("disconnect", () => process.exit(0));
}

function fail(error: unknown): void {
  console.error(error);
  process.send?.({ failed: String(error) });
}

/** Times what drains so many tasks, from its first task on if it tells of it. */
export async function timed(tasks: number, drain: (begun: () => void) => Promise<void>): Promise<Drained> {
  let startedMs = performance.now();
  const cpu = process.cpuUsage();
  await drain(() => {
    startedMs = performance.now();
  });
  const elapsedMs = performance.now() - startedMs;
  const { user, system } = process.cpuUsage(cpu);
  return { perSecond: (tasks / elapsedMs) * 1000, processUs: (user + system) / tasks };
}

/** Rest between two tasks that are awaited: uneven, so that no rhythm of a contender's own is met again and again. */
export function restMs(): number {
  return 10 + Math.random() * 20;
}
