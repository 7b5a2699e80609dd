import { type Collector, exporterOptions, type ReportUnsent } from "./collector.ts";

/** Takes lines of the log for a collector. */
export interface LogPush {
  /** A line as the logger writes it: one JSON object. */
  write(line: string): void;
  /** Sends what is left, for some seconds at most. Never rejects. */
  stop(): Promise<void>;
}

/** Undefined without settings; only with them the libraries are loaded. */
export async function openLogPush(
  collector: Collector | undefined,
  report: ReportUnsent,
): Promise<LogPush | undefined> {
  if (collector === undefined) return undefined;
  const { OTLPLogExporter } =
    collector.protocol === "http/json"
      ? await import("@opentelemetry/exporter-logs-otlp-http")
      : await import("@opentelemetry/exporter-logs-otlp-proto");
  const { OtlpLogs } = await import("./otlp-logs.ts");
  return new OtlpLogs(new OTLPLogExporter(exporterOptions(collector)), report);
}
