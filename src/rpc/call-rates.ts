import { LRUCache } from "lru-cache";
import { Refusal } from "../runtime/refusal.ts";
import { TokenBucket } from "./token-bucket.ts";

/** How many calls a second are served; 0 is no limit. Twice as many may come in a burst. */
export interface CallRateLimits {
  readonly perToken: number;
  readonly perAddress: number;
  readonly inAll: number;
}

/** Tokens or addresses remembered; whoever is pushed out begins with a full budget. */
const REMEMBERED = 50_000;

/**
 * Bounds calls by token, by address and in all, so that one client that runs wild leaves room for the others. A stream
 * counts as one call: its messages are answered one after another, and no faster than that.
 */
export class CallRates {
  readonly #byToken: Rates;
  readonly #byAddress: Rates;
  readonly #inAll: TokenBucket | undefined;

  constructor({ perToken, perAddress, inAll }: CallRateLimits) {
    this.#byToken = new Rates(perToken);
    this.#byAddress = new Rates(perAddress);
    this.#inAll = inAll === 0 ? undefined : new TokenBucket(budgetOf(inAll));
  }

  /** Counts a call before anything is known of its caller. Throws RESOURCE_EXHAUSTED. */
  fromAddress(address: string, monotonicMs: number): void {
    refuseFor(this.#byAddress.take(address, monotonicMs), "this address");
    refuseFor(this.#inAll?.take(monotonicMs) ?? 0, "this server");
  }

  /** Counts a call of a token. Throws RESOURCE_EXHAUSTED. */
  byToken(tokenId: string, monotonicMs: number): void {
    refuseFor(this.#byToken.take(tokenId, monotonicMs), "this token");
  }
}

class Rates {
  readonly #perSecond: number;
  readonly #buckets = new LRUCache<string, TokenBucket>({ max: REMEMBERED });

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
  }

  take(key: string, monotonicMs: number): number {
    if (this.#perSecond === 0) return 0;
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      bucket = new TokenBucket(budgetOf(this.#perSecond));
      this.#buckets.set(key, bucket);
    }
    return bucket.take(monotonicMs);
  }
}

function budgetOf(perSecond: number) {
  return { burst: 2 * perSecond, perSecond };
}

function refuseFor(waitMs: number, whose: string): void {
  if (waitMs === 0) return;
  throw new Refusal("resource-exhausted", `too many calls for ${whose}`, {
    reason: "TOO_MANY_CALLS",
    retryAfterMs: waitMs,
  });
}
