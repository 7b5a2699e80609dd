/** So many at once, and then so many each second. */
export interface Budget {
  burst: number;
  perSecond: number;
}

/** Counts what is taken against a budget that fills up again. Times are ms of a monotonic clock. */
export class TokenBucket {
  readonly #budget: Budget;
  #left: number;
  #filledAtMs: number | undefined;

  constructor(budget: Budget) {
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
