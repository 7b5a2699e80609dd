/** An OpenTelemetry collector, which is sent to by OTLP over HTTP. */
export interface Collector {
  /** Its base address; each signal has a path of its own below it. */
  readonly endpoint: string;
  readonly protocol: "http/protobuf" | "http/json";
}

/** Hears, once until it works again, why something could not be sent; it is lost then. */
export type ReportUnsent = (error: unknown) => void;

/** Repeats included. It also bounds how long a stop waits for a collector that does not answer, in ms. */
export const SEND_WITHIN_MS = 2_000;

/** What the libraries' exporters want to know of a collector. */
export function exporterOptions(
  { endpoint }: Collector,
  path: "v1/traces" | "v1/metrics" | "v1/logs",
): { url: string; timeoutMillis: number } {
  return { url: `${endpoint.replace(/\/+$/, "")}/${path}`, timeoutMillis: SEND_WITHIN_MS };
}
