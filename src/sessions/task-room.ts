import type { Task } from "../../gen/drover/v1/task_pb.js";
import type { AgentCaller } from "../identity/caller.ts";
import { Refusal } from "../runtime/refusal.ts";
import type { Assigner, Taker } from "./assigner.ts";

/** Where assignments go: a stream's outbox. */
export interface AssignmentSink {
  /** How many it takes now; 0 where the agent does not read. */
  readonly room: number;
  /** Assignments that it holds and the agent has not begun to read. */
  readonly unread: number;
  /** False where the stream has ended, so that the task was not handed over. */
  put(task: Task): Promise<boolean>;
  /** Takes care of tasks that were lent for the agent and could not be handed over. */
  returnUndelivered(tasks: Task[]): void;
}

/** What the agent said of its room, less what came since. */
interface Word {
  slots: number;
  readonly kinds: readonly string[];
  /** Loans that came by calls and took a slot of it, so that the repeat of a call takes no other. */
  readonly byCalls: Set<string>;
}

/** A task that was lent by a call, as far as slots are concerned. */
export interface CalledLoan {
  readonly id: string;
  readonly leaseEpoch: bigint;
  /** Nothing where the loan is over, so that it fills no slot. */
  readonly remainingMs: number | undefined;
}

/** The room that an agent has for tasks, as it said last; each assignment takes a slot of it. */
export class TaskRoom {
  readonly #caller: AgentCaller;
  readonly #assigner: Assigner;
  readonly #sink: AssignmentSink;
  readonly #isHeld: () => boolean;
  #word: Word = wordOf(0, []);
  #taker: Taker | undefined;
  /** Resolves when no claim for this room is under way. */
  #claiming: Promise<unknown> = Promise.resolve();
  /** Resolves when what was claimed is on its way to the agent too. */
  #taking: Promise<unknown> = Promise.resolve();
  #isOpen = true;

  /** No task comes while `isHeld`; whoever held it opens it again. */
  constructor(
    caller: AgentCaller,
    assigner: Assigner,
    sink: AssignmentSink,
    isHeld: () => boolean = () => false,
  ) {
    this.#caller = caller;
    this.#assigner = assigner;
    this.#sink = sink;
    this.#isHeld = isHeld;
  }

  /**
   * Replaces what was said before. Resolves when nothing that was claimed under the old word is on its way any more;
   * `open` then lets tasks come under the new one.
   */
  async set(slots: number, kinds: readonly string[]): Promise<void> {
    this.#leaveLine();
    this.#word = wordOf(slots, kinds);
    await this.#taking;
  }

  /** Waits in line, if there is room and it does not already; also after a claim was refused or the agent read on. */
  open(): void {
    if (!this.#isOpen || this.#taker !== undefined || this.#word.slots === 0 || this.#sink.room === 0) return;
    if (this.#isHeld()) return;
    const { kinds } = this.#word;
    const taker: Taker = {
      caller: this.#caller,
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

  /**
   * Takes the room out of the line, for as long as it is held. Resolves, when no claim for it is under way any more, to how
   * many slots are left, and how many tasks took one of which the agent could not know when this was called.
   */
  async withdraw(): Promise<{ left: number; crossed: number }> {
    const word = this.#word;
    const before = word.slots + this.#sink.unread;
    this.#leaveLine();
    // Not for their way to the agent: one that does not read would keep its own call waiting.
    await this.#claiming;
    return { left: word.slots, crossed: before - word.slots };
  }

  /** Deducts what came by a call, down to none. */
  fill(loans: readonly CalledLoan[]): void {
    const word = this.#word;
    for (const { id, leaseEpoch, remainingMs } of loans) {
      const loan = `${id} ${leaseEpoch}`;
      if (word.slots === 0 || (remainingMs ?? 0) <= 0 || word.byCalls.has(loan)) continue;
      word.byCalls.add(loan);
      word.slots -= 1;
    }
  }

  /** No more tasks by this stream. */
  close(): void {
    this.#isOpen = false;
    this.#leaveLine();
  }

  #leaveLine(): void {
    if (this.#taker !== undefined) this.#assigner.remove(this.#taker);
    this.#taker = undefined;
  }

  async #take(taker: Taker, claim: (max: number) => Promise<Task[]>): Promise<number | "gone"> {
    // What comes by this claim takes slots of the word that it was made under, whatever is said meanwhile.
    const word = this.#word;
    const max = Math.min(word.slots, this.#sink.room);
    if (this.#taker !== taker) return "gone";
    if (max === 0) return this.#rest();
    let tasks: Task[];
    try {
      tasks = await this.#claim(word, () => claim(max));
    } catch (error) {
      this.#forget(taker);
      // An agent in error, or cordoned, gets nothing; its next good heartbeat opens the room again.
      if (error instanceof Refusal) return "gone";
      throw error;
    }
    await this.#handOver(tasks);
    if (this.#taker !== taker) return "gone";
    return word.slots === 0 ? this.#rest() : tasks.length;
  }

  async #claim(word: Word, claim: () => Promise<Task[]>): Promise<Task[]> {
    const claiming = claim().then((tasks) => {
      word.slots = Math.max(0, word.slots - tasks.length);
      return tasks;
    });
    this.#claiming = Promise.allSettled([this.#claiming, claiming]);
    return await claiming;
  }

  async #handOver(tasks: Task[]): Promise<void> {
    for (const [place, task] of tasks.entries()) {
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

const wordOf = (slots: number, kinds: readonly string[]): Word => ({ slots, kinds, byCalls: new Set() });
