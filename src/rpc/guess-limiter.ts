import { LRUCache } from "lru-cache";

/** Failed guesses that are answered as such, in a burst and then each second. */
interface GuessBudget {
  burst: number;
  perSecond: number;
}

const PER_ADDRESS: GuessBudget = { burst: 300, perSecond: 5 };
const IN_ALL: GuessBudget = { burst: 3000, perSecond: 50 };
/** Addresses remembered; whoever is pushed out begins with a full budget, bounded by the one for all. */
const ADDRESSES = 10_000;

/**
 * Bounds how often tokens can be guessed, by address and in all. It counts failures alone and is asked only after one:
 * a good token is always served, so that nobody can lock an agent out by guessing beside it.
 */
export class GuessLimiter {
  readonly #addresses = new LRUCache<string, Bucket>({ max: ADDRESSES });
  readonly #all = new Bucket(IN_ALL);

  /** Counts a failed guess; milliseconds to wait where the budget is spent, undefined otherwise. */
  failed(address: string, monotonicMs: number): number | undefined {
    let own = this.#addresses.get(address);
    if (own === undefined) {
      own = new Bucket(PER_ADDRESS);
      this.#addresses.set(address, own);
    }
    const waits = [own.take(monotonicMs), this.#all.take(monotonicMs)];
    const longest = Math.max(...waits);
    return longest > 0 ? longest : undefined;
  }
}

class Bucket {
  readonly #budget: GuessBudget;
  #left: number;
  #filledAtMs: number | undefined;

  constructor(budget: GuessBudget) {
    this.#budget = budget;
    this.#left = budget.burst;
  }

  /** 0 where one could be taken, otherwise the milliseconds until one can. */
  take(monotonicMs: number): number {
    const { burst, perSecond } = this.#budget;
    const passedMs = monotonicMs - (this.#filledAtMs ?? monotonicMs);
    this.#left = Math.min(burst, this.#left + (passedMs * perSecond) / 1000);
    this.#filledAtMs = monotonicMs;
    if (this.#left >= 1) {
      this.#left -= 1;
      return 0;
    }
    return Math.ceil(((1 - this.#left) / perSecond) * 1000);
  }
}
