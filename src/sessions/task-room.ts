import type { Task } from "../../gen/drover/v1/task_pb.js";
import type { AgentCaller } from "../identity/caller.ts";
import { Refusal } from "../runtime/refusal.ts";
import type { Assigner, Taker } from "./assigner.ts";

/** Where assignments go: a stream's outbox. */
export interface AssignmentSink {
  /** How many it takes now; 0 where the agent does not read. */
  readonly room: number;
  /** False where the stream has ended, so that the task was not handed over. */
  put(task: Task): Promise<boolean>;
  /** Takes care of tasks that were lent for the agent and could not be handed over. */
  returnUndelivered(tasks: Task[]): void;
}

/** The room that an agent has for tasks, as it said last; each assignment takes a slot of it. */
export class TaskRoom {
  readonly #caller: AgentCaller;
  readonly #assigner: Assigner;
  readonly #sink: AssignmentSink;
  #slots = 0;
  #kinds: readonly string[] = [];
  #taker: Taker | undefined;
  #taking: Promise<unknown> = Promise.resolve();
  #isOpen = true;

  constructor(caller: AgentCaller, assigner: Assigner, sink: AssignmentSink) {
    this.#caller = caller;
    this.#assigner = assigner;
    this.#sink = sink;
  }

  /**
   * Replaces what was said before. Resolves when nothing that was claimed under the old word is on its way any more;
   * `open` then lets tasks come under the new one.
   */
  async set(slots: number, kinds: readonly string[]): Promise<void> {
    this.#withdraw();
    this.#slots = slots;
    this.#kinds = kinds;
    await this.#taking;
    // What came under the old word was counted against the new one.
    this.#slots = slots;
  }

  /** Waits in line, if there is room and it does not already; also after a claim was refused or the agent read on. */
  open(): void {
    if (!this.#isOpen || this.#taker !== undefined || this.#slots === 0 || this.#sink.room === 0) return;
    const { kinds, caller } = { kinds: this.#kinds, caller: this.#caller };
    const taker: Taker = {
      caller,
      kinds,
      take: (claim) => {
        const taking = this.#take(taker, claim);
        this.#taking = taking.catch(() => {});
        return taking;
      },
    };
    this.#taker = taker;
    this.#assigner.add(taker);
  }

  /** No more tasks by this stream. */
  close(): void {
    this.#isOpen = false;
    this.#withdraw();
  }

  #withdraw(): void {
    if (this.#taker !== undefined) this.#assigner.remove(this.#taker);
    this.#taker = undefined;
  }

  async #take(taker: Taker, claim: (max: number) => Promise<Task[]>): Promise<number | "gone"> {
    const max = Math.min(this.#slots, this.#sink.room);
    if (this.#taker !== taker) return "gone";
    if (max === 0) return this.#rest();
    let tasks: Task[];
    try {
      tasks = await claim(max);
    } catch (error) {
      this.#forget(taker);
      // An agent in error, or cordoned, gets nothing; its next good heartbeat opens the room again.
      if (error instanceof Refusal) return "gone";
      throw error;
    }
    await this.#handOver(tasks);
    if (this.#taker !== taker) return "gone";
    return this.#slots === 0 ? this.#rest() : tasks.length;
  }

  async #handOver(tasks: Task[]): Promise<void> {
    for (const [place, task] of tasks.entries()) {
      this.#slots = Math.max(0, this.#slots - 1);
      if (await this.#sink.put(task)) continue;
      this.#sink.returnUndelivered(tasks.slice(place));
      return;
    }
  }

  #rest(): "gone" {
    this.#taker = undefined;
    return "gone";
  }

  #forget(taker: Taker): void {
    if (this.#taker === taker) this.#taker = undefined;
  }
}
