import { LRUCache } from "lru-cache";
import { type Budget, TokenBucket } from "./token-bucket.ts";

/** Failed guesses that are answered as such. */
const PER_ADDRESS: Budget = { burst: 300, perSecond: 5 };
const IN_ALL: Budget = { burst: 3000, perSecond: 50 };
/** Addresses remembered; whoever is pushed out begins with a full budget, bounded by the one for all. */
const ADDRESSES = 10_000;

/**
 * Bounds how often tokens can be guessed, by address and in all. It counts failures alone and is asked only after one:
 * a good token is always served, so that nobody can lock an agent out by guessing beside it.
 */
export class GuessLimiter {
  readonly #addresses = new LRUCache<string, TokenBucket>({ max: ADDRESSES });
  readonly #all = new TokenBucket(IN_ALL);

  /** Counts a failed guess; milliseconds to wait where the budget is spent, undefined otherwise. */
  failed(address: string, monotonicMs: number): number | undefined {
    let own = this.#addresses.get(address);
    if (own === undefined) {
      own = new TokenBucket(PER_ADDRESS);
      this.#addresses.set(address, own);
    }
    const waits = [own.take(monotonicMs), this.#all.take(monotonicMs)];
    const longest = Math.max(...waits);
    return longest > 0 ? longest : undefined;
  }
}
