/**
 * Numbers that are cheap to count: whoever counts keeps the cell and adds to it, without a look-up by labels. How they
 * are written out is the business of whoever reads them.
 */

/** One value of one metric, as a Prometheus scrape shows it. */
export interface Sample {
  /** The metric's own name where it is left out. */
  readonly metricName?: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

/** What a metric is. */
export interface MetricDescription {
  /** In snake case with its unit, such as `drover_rpc_duration_seconds`. */
  readonly name: string;
  readonly help: string;
  readonly kind: "counter" | "gauge" | "histogram";
}

/** A metric that can be read. */
export interface ReadableMetric extends MetricDescription {
  samples(): Sample[] | Promise<Sample[]>;
}

export class Counter {
  value = 0;

  add(count = 1): void {
    this.value += count;
  }
}

/** Counts values in ranges; each range includes those below it when it is read. */
export class Distribution {
  /** Upper bounds of the ranges, rising. */
  readonly bounds: readonly number[];
  readonly counts: number[];
  sum = 0;
  count = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = bounds.map(() => 0);
  }

  observe(value: number): void {
    this.sum += value;
    this.count += 1;
    const { bounds, counts } = this;
    for (let at = 0; at < bounds.length; at++) {
      if (value > (bounds[at] ?? 0)) continue;
      counts[at] = (counts[at] ?? 0) + 1;
      return;
    }
  }
}

/** Upper bounds, in seconds, from a fast call to one that is as good as lost. */
export const SECONDS: readonly number[] = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10,
];

/** A value with the labels that tell it apart. */
export interface Labelled<T> {
  readonly labels: Readonly<Record<string, string>>;
  readonly cell: T;
}

/** The cells of one metric, one for each set of labels that was asked for. */
class Family<T> {
  protected readonly cells: Labelled<T>[] = [];
  readonly #make: () => T;

  constructor(make: () => T) {
    this.#make = make;
  }

  /** A new cell; to be kept by whoever counts. */
  cell(labels: Readonly<Record<string, string>> = {}): T {
    const cell = this.#make();
    this.cells.push({ labels, cell });
    return cell;
  }
}

export class CounterFamily extends Family<Counter> implements ReadableMetric {
  readonly kind = "counter";
  readonly name: string;
  readonly help: string;

  constructor(name: string, help: string) {
    super(() => new Counter());
    this.name = name;
    this.help = help;
  }

  samples(): Sample[] {
    return this.cells.map(({ labels, cell }) => ({ labels, value: cell.value }));
  }
}

export class DistributionFamily extends Family<Distribution> implements ReadableMetric {
  readonly kind = "histogram";
  readonly name: string;
  readonly help: string;

  constructor(name: string, help: string, bounds: readonly number[]) {
    super(() => new Distribution(bounds));
    this.name = name;
    this.help = help;
  }

  get labelled(): readonly Labelled<Distribution>[] {
    return this.cells;
  }

  samples(): Sample[] {
    return this.cells.flatMap(({ labels, cell }) => {
      let below = 0;
      const ranges = cell.bounds.map((le, at) => {
        below += cell.counts[at] ?? 0;
        return { metricName: `${this.name}_bucket`, labels: { ...labels, le }, value: below };
      });
      return [
        ...ranges,
        { metricName: `${this.name}_bucket`, labels: { ...labels, le: "+Inf" }, value: cell.count },
        { metricName: `${this.name}_sum`, labels, value: cell.sum },
        { metricName: `${this.name}_count`, labels, value: cell.count },
      ];
    });
  }
}
