import type { AlignedData } from "uplot";

const MOST_SAMPLES = 90;

/** The newest values of one measurement, as this page saw them. */
export class Samples {
  readonly #times: number[] = [];
  readonly #values: number[] = [];

  /** Adds a value seen at `atMs`. */
  add(atMs: number, value: number): void {
    this.#times.push(atMs / 1000);
    this.#values.push(value);
    if (this.#times.length > MOST_SAMPLES) {
      this.#times.shift();
      this.#values.shift();
    }
  }

  get length(): number {
    return this.#times.length;
  }

  data(): AlignedData {
    return [this.#times, this.#values];
  }
}
