/** A due task that could be lent. */
export interface Candidate {
  /** What it takes of an answer. */
  readonly bytes: number;
}

export interface DealCaps {
  /** An agent's answer ends before it has so many bytes, unless its first task alone has more. */
  readonly eachBytes: number;
  /** All answers together have no more. */
  readonly allBytes: number;
}

/** Who gets what. */
export interface Deal<C> {
  /** In the order of the wishes. */
  readonly hands: readonly (readonly C[])[];
  /** Of all that was dealt. */
  readonly bytes: number;
  /** Tasks were left that only `allBytes` kept from being dealt. */
  readonly isCut: boolean;
}

/**
 * Deals tasks, in their order, to agents that wish for the same, in theirs: to each its first before anyone has a second,
 * since what one agent would keep waiting behind its other tasks another one can begin with. A hand is full with as many
 * as its agent wished for, or when the next task does not fit into its answer; that one goes to the next agent, and no
 * later task overtakes it.
 */
export function planDeal<C extends Candidate>(
  candidates: readonly C[],
  wishes: readonly { readonly max: number }[],
  { eachBytes, allBytes }: DealCaps,
): Deal<C> {
  const hands = wishes.map(({ max }) => ({ max, tasks: [] as C[], bytes: 0 }));
  // Whoever gets a task and has room for another one stands at the end again.
  const line = hands.filter(({ max }) => max > 0);
  let bytes = 0;
  let next = 0;
  const end = (isCut: boolean): Deal<C> => ({ hands: hands.map(({ tasks }) => tasks), bytes, isCut });
  for (const candidate of candidates) {
    let hand = line[next];
    while (hand !== undefined && hand.tasks.length > 0 && hand.bytes + candidate.bytes > eachBytes) {
      next += 1;
      hand = line[next];
    }
    if (hand === undefined) return end(false);
    if (bytes + candidate.bytes > allBytes) return end(true);
    next += 1;
    bytes += candidate.bytes;
    hand.bytes += candidate.bytes;
    hand.tasks.push(candidate);
    if (hand.tasks.length < hand.max) line.push(hand);
  }
  return end(false);
}
