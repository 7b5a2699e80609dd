/** Loaded only where metrics are sent to a collector. */
import { ValueType } from "@opentelemetry/api";
import { millisToHrTime } from "@opentelemetry/core";
import {
  AggregationTemporality,
  DataPointType,
  type Histogram,
  MeterProvider,
  type MetricData,
  PeriodicExportingMetricReader,
  type PushMetricExporter,
} from "@opentelemetry/sdk-metrics";
import { type ReportUnsent, SEND_WITHIN_MS } from "./collector.ts";
import type { MetricReading, Metrics } from "./metrics.ts";
import { createResource, reporting } from "./otlp-exporter.ts";
import type { Distribution } from "./tally.ts";

/** Sends all metrics each so many ms. What is returned sends them once more and ends it; it never rejects. */
export function pushMetrics(
  metrics: Metrics,
  exporter: PushMetricExporter,
  everyMs: number,
  report: ReportUnsent,
): () => Promise<void> {
  const resource = createResource();
  const collect = async () => {
    const read = await metrics.read();
    const nowMs = Date.now();
    const data = read.map((reading) => dataOf(reading, nowMs));
    return {
      resourceMetrics: { resource, scopeMetrics: [{ scope: { name: "drover" }, metrics: data }] },
      errors: [],
    };
  };
  const reader = new PeriodicExportingMetricReader({
    exporter: reporting(exporter, report),
    exportIntervalMillis: everyMs,
    exportTimeoutMillis: Math.min(everyMs, SEND_WITHIN_MS),
    metricProducers: [{ collect }],
  });
  const provider = new MeterProvider({ resource, readers: [reader] });
  return () => provider.shutdown().catch(() => {});
}

function dataOf(reading: MetricReading, nowMs: number): MetricData {
  const { name, help } = reading;
  const times = { startTime: millisToHrTime(performance.timeOrigin), endTime: millisToHrTime(nowMs) };
  const base = {
    descriptor: { name, description: help, unit: unitOf(name), valueType: ValueType.DOUBLE },
    aggregationTemporality: AggregationTemporality.CUMULATIVE,
  };
  if (reading.kind === "histogram") {
    const dataPoints = reading.cells.map(({ labels, cell }) => ({
      ...times,
      attributes: labels,
      value: histogramOf(cell),
    }));
    return { ...base, dataPointType: DataPointType.HISTOGRAM, dataPoints };
  }
  const dataPoints = reading.samples.map(({ labels, value }) => ({ ...times, attributes: labels, value }));
  return reading.kind === "counter"
    ? { ...base, dataPointType: DataPointType.SUM, isMonotonic: true, dataPoints }
    : { ...base, dataPointType: DataPointType.GAUGE, dataPoints };
}

/** By its name, as Prometheus wants it there. */
function unitOf(name: string): string {
  return name.endsWith("_seconds") ? "s" : "";
}

function histogramOf({ bounds, counts, sum, count }: Distribution): Histogram {
  const above = count - counts.reduce((total, one) => total + one, 0);
  return { buckets: { boundaries: [...bounds], counts: [...counts, above] }, sum, count };
}
