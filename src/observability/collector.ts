/** Where one signal is sent to, by OTLP over HTTP. */
export interface Collector {
  /** With the signal's path. */
  readonly url: string;
  readonly protocol: "http/protobuf" | "http/json";
  /** What each request brings along, such as an API's key; names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
}

/** Hears, once until it works again, why something could not be sent; it is lost then. */
export type ReportUnsent = (error: unknown) => void;

/** Repeats included. It also bounds how long a stop waits for a collector that does not answer, in ms. */
export const SEND_WITHIN_MS = 2_000;

/** What the libraries' exporters want to know of a collector. */
export function exporterOptions({ url, headers }: Collector): {
  url: string;
  headers: Record<string, string>;
  timeoutMillis: number;
} {
  return { url, headers: { ...headers }, timeoutMillis: SEND_WITHIN_MS };
}
