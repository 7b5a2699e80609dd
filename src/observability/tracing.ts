import type { Attributes, SpanContext } from "@opentelemetry/api";
import type { AroundRound } from "../runtime/round.ts";
import { type Collector, exporterOptions, type ReportUnsent } from "./collector.ts";

/** OpenTelemetry's names. Those with `parentbased` leave traces that callers begin to their decision. */
export const samplerNames = [
  "always_on",
  "always_off",
  "traceidratio",
  "parentbased_always_on",
  "parentbased_always_off",
  "parentbased_traceidratio",
] as const;
export type SamplerName = (typeof samplerNames)[number];

export interface TracingSettings extends Collector {
  readonly sampler: SamplerName;
  /** What samplers with `traceidratio` record of the traces that they judge, 0 to 1. */
  readonly share: number;
}

/** A place in a trace, for work that is done for it elsewhere. */
export type Origin = SpanContext;

/** Work that is under way: a span. */
export interface Work {
  /** Runs `part`; what it begins, also later, belongs to this work until that ends. */
  run<T>(part: () => T): T;
  note(attributes: Attributes): void;
  /** What begins from here on is no part of it: a stream that is open for days would gather parts without an end. */
  close(): void;
  /** `failed`: by the server's fault, not its caller's. */
  end(failed: boolean): void;
}

/**
 * What a server tells of its work, span by span. Where none of that is asked for nobody holds one of these: whoever
 * would use it looks whether it is undefined, and that is all that it costs.
 */
export interface Tracing {
  /** A call through a door. It goes on with the trace that its headers name by W3C's traceparent and tracestate. */
  beginCall(name: string, attributes: Attributes, headers: Headers): Work;
  /** Work with a trace of its own that is linked to what is under way here. */
  beginApart(name: string, attributes: Attributes): Work;
  /** The work under way here that takes parts; undefined where there is none, or none that is recorded. */
  here(): Origin | undefined;
  /** Runs what is done at once for several: part of the work of one, and linked to that of several. */
  together<T>(name: string, origins: readonly (Origin | undefined)[], run: () => Promise<T>): Promise<T>;
  /** Runs a part of the work under way here. Its own parts may come after that work's end. */
  part<T>(name: string, attributes: Attributes, run: () => Promise<T>): Promise<T>;
  /**
   * Stands around rounds of work that the server does by itself. One in which there was something to do, or which failed,
   * is a trace of its own; of the others nothing is told, nor of more than a few a second.
   */
  background(name: string): AroundRound;
  /** A statement that is asked for here; what it returns hears of its end, with the error if it failed. */
  readonly beginStatement: (text: string) => ((error?: unknown) => void) | undefined;
  /** Runs a transaction as a part of its own. */
  transaction<T>(run: () => Promise<T>): Promise<T>;
  /** Sends what has ended, for some seconds at most. Never rejects. */
  stop(): Promise<void>;
}

/** Where a line of the log belongs: to the work under way when it is written. */
export function traceFields(tracing: Tracing | undefined): object {
  const here = tracing?.here();
  return here === undefined ? {} : { trace_id: here.traceId, span_id: here.spanId };
}

/** Undefined without settings; only with them the libraries are loaded. */
export async function openTracing(
  settings: TracingSettings | undefined,
  report: ReportUnsent,
): Promise<Tracing | undefined> {
  if (settings === undefined) return undefined;
  const { OTLPTraceExporter } =
    settings.protocol === "http/json"
      ? await import("@opentelemetry/exporter-trace-otlp-http")
      : await import("@opentelemetry/exporter-trace-otlp-proto");
  const { OtlpTracing } = await import("./otlp-tracing.ts");
  const exporter = new OTLPTraceExporter(exporterOptions(settings));
  return new OtlpTracing(settings, exporter, report);
}
