import type { Registry } from "prom-client";
import {
  type CounterFamily,
  CounterFamily as Counters,
  type Distribution,
  type DistributionFamily,
  DistributionFamily as Distributions,
  type Labelled,
  type ReadableMetric,
  type Sample,
} from "./tally.ts";

/** A page of metrics in the text format of Prometheus. */
export interface MetricsPage {
  readonly contentType: string;
  readonly text: string;
}

/** One metric as it is at a moment. */
export type MetricReading = { readonly name: string; readonly help: string } & (
  | { readonly kind: "counter" | "gauge"; readonly samples: readonly Sample[] }
  | { readonly kind: "histogram"; readonly cells: readonly Labelled<Distribution>[] }
);

/** Hears of a metric that could not be read; the page then leaves it out. */
export type ReportUnread = (name: string, error: unknown) => void;

/**
 * All metrics of one server. Counting needs none of the library that prints them, which is loaded by the first scrape:
 * it takes longer to load than the rest of the server's start may.
 */
export class Metrics {
  readonly #metrics: ReadableMetric[] = [];
  readonly #report: ReportUnread;
  #registry: Promise<Registry> | undefined;

  constructor(report: ReportUnread) {
    this.#report = report;
  }

  counters(name: string, help: string): CounterFamily {
    return this.#add(new Counters(name, help));
  }

  distributions(name: string, help: string, bounds: readonly number[]): DistributionFamily {
    return this.#add(new Distributions(name, help, bounds));
  }

  /** A value that is read when somebody asks; several where labels tell them apart. */
  gauge(name: string, help: string, read: () => number | Sample[] | Promise<number | Sample[]>): void {
    this.#add({ kind: "gauge", name, help, samples: async () => samplesOf(await read()) });
  }

  /** The same for a count that is kept elsewhere and only rises. */
  counter(name: string, help: string, read: () => number): void {
    this.#add({ kind: "counter", name, help, samples: () => samplesOf(read()) });
  }

  /** All metrics as they are now; one that cannot be read is empty. */
  async read(): Promise<MetricReading[]> {
    return await Promise.all(
      this.#metrics.map(async (metric): Promise<MetricReading> => {
        const { name, help, kind } = metric;
        if (metric instanceof Distributions) return { name, help, kind: "histogram", cells: metric.labelled };
        if (kind === "histogram") throw new Error(`${name} is a histogram of another kind`);
        return { name, help, kind, samples: await this.#read(metric) };
      }),
    );
  }

  async page(): Promise<MetricsPage> {
    this.#registry ??= this.#createRegistry();
    const registry = await this.#registry;
    return { contentType: registry.contentType, text: await registry.metrics() };
  }

  #add<M extends ReadableMetric>(metric: M): M {
    this.#metrics.push(metric);
    return metric;
  }

  async #createRegistry(): Promise<Registry> {
    const { Registry, collectDefaultMetrics } = await import("prom-client");
    const registry = new Registry();
    collectDefaultMetrics({ register: registry });
    for (const metric of this.#metrics) {
      const { name, help, kind: type } = metric;
      const get = async () => ({ name, help, type, values: await this.#read(metric), aggregator: "sum" });
      // A registry asks no more of a metric than its name and this; its type names the library's own classes.
      registry.registerMetric({ name, help, type, get, reset() {} } as unknown as RegisteredMetric);
    }
    return registry;
  }

  async #read(metric: ReadableMetric): Promise<Sample[]> {
    try {
      return await metric.samples();
    } catch (error) {
      this.#report(metric.name, error);
      return [];
    }
  }
}

type RegisteredMetric = Parameters<Registry["registerMetric"]>[0];

function samplesOf(read: number | Sample[]): Sample[] {
  return typeof read === "number" ? [{ labels: {}, value: read }] : read;
}
