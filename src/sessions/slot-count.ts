import type { CalledLoan, TaskRoom } from "./task-room.ts";

/** Calls of one agent that claim. */
interface Calls {
  underWay: number;
  /** Free slots of its stream that calls under way may fill. */
  promised: number;
}

/**
 * One count of an agent's slots, where it takes tasks by its stream and by calls at the same time: while a call claims, or
 * waits for a task, nothing is assigned by the stream, and what the call brought is deducted from the slots. Known are the
 * streams of this server alone.
 */
export class SlotCount {
  readonly #roomOf: (agentId: string) => TaskRoom | undefined;
  readonly #calls = new Map<string, Calls>();

  /** `roomOf` finds the room of the agent's stream, if it has one here. */
  constructor(roomOf: (agentId: string) => TaskRoom | undefined) {
    this.#roomOf = roomOf;
  }

  /** A call of the agent claims, so that its stream gets nothing. */
  isClaiming(agentId: string): boolean {
    return this.#calls.has(agentId);
  }

  /**
   * Makes an agent's call for at most `max` tasks. `claim` gets how many the call may bring: less where tasks that the agent
   * did not know of yet took slots that it took for free, down to none.
   */
  async claim<Loan extends CalledLoan>(
    agentId: string,
    max: number,
    claim: (max: number) => Promise<Loan[]>,
  ): Promise<Loan[]> {
    const calls = this.#calls.get(agentId) ?? { underWay: 0, promised: 0 };
    // Before the first wait: from here on the stream's room stays closed, also that of a stream which is opened meanwhile.
    this.#calls.set(agentId, calls);
    calls.underWay += 1;
    let promised = 0;
    let brought: Loan[] = [];
    try {
      const { left, crossed } = (await this.#roomOf(agentId)?.withdraw()) ?? { left: 0, crossed: 0 };
      const free = Math.max(0, left - calls.promised);
      promised = Math.min(max, free);
      calls.promised += promised;
      brought = await claim(planCall({ max, free, crossed }));
      return brought;
    } finally {
      calls.underWay -= 1;
      calls.promised -= promised;
      if (calls.underWay === 0) this.#calls.delete(agentId);
      // Of the stream that there is by now; what it says of its slots after the call's answer is exact again.
      const room = this.#roomOf(agentId);
      room?.fill(brought);
      room?.open();
    }
  }
}

/**
 * How many tasks a call for `max` may bring. It is a wish of its own, beside the slots: an agent whose slots are used up gets
 * what it asks for. But of tasks that crossed the call, on their way by the stream when it came in, the agent did not know
 * when it chose `max`: it took their slots for free. So they count as brought by the call already, unless there are as
 * many other slots free as it asks for. With 4 slots of which 3 were filled just now, a call for 1 gets 1, a call for 4
 * gets 1, and a call for 6, which is for 2 beyond the slots, gets 3.
 */
export function planCall({ max, free, crossed }: { max: number; free: number; crossed: number }): number {
  return Math.max(Math.min(max, free), max - crossed, 0);
}
