/** One figure of several runs. */
export interface Figure {
  unit: string;
  runs: number[];
}

export interface Summary {
  minimum: number;
  median: number;
  maximum: number;
}

export function summarise(runs: readonly number[]): Summary {
  if (runs.length === 0) throw new Error("a figure needs at least one run");
  const sorted = [...runs].sort((a, b) => a - b);
  const at = (index: number) => sorted[Math.min(sorted.length - 1, Math.max(0, index))] ?? Number.NaN;
  const middle = Math.floor(sorted.length / 2);
  const median = sorted.length % 2 === 1 ? at(middle) : (at(middle - 1) + at(middle)) / 2;
  return { minimum: at(0), median, maximum: at(sorted.length - 1) };
}

/** The value that a share of the samples stays at or below; `share` from 0 to 1. */
export function percentile(samples: readonly number[], share: number): number {
  if (samples.length === 0) throw new Error("a percentile needs at least one sample");
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}
