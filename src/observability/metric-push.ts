import type { Service } from "../runtime/service.ts";
import { type Collector, exporterOptions, type ReportUnsent } from "./collector.ts";
import type { Metrics } from "./metrics.ts";

export interface MetricPushSettings extends Collector {
  readonly everyMs: number;
}

/** Sends metrics to a collector while it is started, and once more when it stops. */
export class MetricPush implements Service {
  readonly #settings: MetricPushSettings;
  readonly #metrics: Metrics;
  readonly #report: ReportUnsent;
  #stopPush: (() => Promise<void>) | undefined;

  constructor(settings: MetricPushSettings, metrics: Metrics, report: ReportUnsent) {
    this.#settings = settings;
    this.#metrics = metrics;
    this.#report = report;
  }

  /** Loads the libraries. */
  async start(): Promise<void> {
    const { OTLPMetricExporter } =
      this.#settings.protocol === "http/json"
        ? await import("@opentelemetry/exporter-metrics-otlp-http")
        : await import("@opentelemetry/exporter-metrics-otlp-proto");
    const { pushMetrics } = await import("./otlp-metrics.ts");
    const exporter = new OTLPMetricExporter(exporterOptions(this.#settings));
    this.#stopPush = pushMetrics(this.#metrics, exporter, this.#settings.everyMs, this.#report);
  }

  async stop(): Promise<void> {
    const stop = this.#stopPush;
    this.#stopPush = undefined;
    await stop?.();
  }
}
