/** Loaded only where the log is sent to a collector. */
import {
  type Attributes,
  type Context,
  type Logger,
  ROOT_CONTEXT,
  SeverityNumber,
  TraceFlags,
  trace,
} from "@opentelemetry/api";
import { BatchLogRecordProcessor, LoggerProvider, type LogRecordExporter } from "@opentelemetry/sdk-logs";
import type { ReportUnsent } from "./collector.ts";
import type { LogPush } from "./log-push.ts";
import { createResource, reporting } from "./otlp-exporter.ts";

const severities: ReadonlyMap<unknown, SeverityNumber> = new Map([
  ["trace", SeverityNumber.TRACE],
  ["debug", SeverityNumber.DEBUG],
  ["info", SeverityNumber.INFO],
  ["warn", SeverityNumber.WARN],
  ["error", SeverityNumber.ERROR],
  ["fatal", SeverityNumber.FATAL],
]);

/** The log by OTLP over HTTP. What waits to be sent is bounded: what is written beyond that is dropped. */
export class OtlpLogs implements LogPush {
  readonly #provider: LoggerProvider;
  readonly #logger: Logger;

  constructor(exporter: LogRecordExporter, report: ReportUnsent) {
    const processor = new BatchLogRecordProcessor({ exporter: reporting(exporter, report) });
    this.#provider = new LoggerProvider({ resource: createResource(), processors: [processor] });
    this.#logger = this.#provider.getLogger("drover");
  }

  /** Read from the line, and not from what was logged: secrets are struck out by then, and errors described. */
  write(line: string): void {
    // A line is one JSON object by the logger's own doing.
    const { level, time, msg, trace_id, span_id, ...fields } = JSON.parse(line) as Record<string, unknown>;
    this.#logger.emit({
      severityNumber: severities.get(level) ?? SeverityNumber.UNSPECIFIED,
      severityText: String(level),
      timestamp: new Date(String(time)),
      body: String(msg ?? ""),
      attributes: attributesOf(fields),
      context: contextOf(trace_id, span_id),
    });
  }

  async stop(): Promise<void> {
    await this.#provider.shutdown().catch(() => {});
  }
}

function attributesOf(fields: Record<string, unknown>): Attributes {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name,
      typeof value === "object" ? JSON.stringify(value) : (value as string | number | boolean), // JSON has nothing else
    ]),
  );
}

function contextOf(traceId: unknown, spanId: unknown): Context {
  if (typeof traceId !== "string" || typeof spanId !== "string") return ROOT_CONTEXT;
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags: TraceFlags.SAMPLED });
}
