import type { WebRequest } from "./web-handler.ts";

/** The longest time a Node timer can hold, in milliseconds; more would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Makes a request's headers say what was sent, before anyone reads them.
 *
 * Node keeps the first of two `authorization` headers and drops the rest, which would let two parties on the way
 * disagree about the caller; joined, they are no valid credential. A timeout beyond what a timer can hold becomes
 * the longest that it can.
 */
export function normalizeHeaders(request: WebRequest): void {
  const { headers, rawHeaders } = request;
  if (headers.authorization !== undefined) {
    const all = valuesOf(rawHeaders, "authorization");
    if (all.length > 1) headers.authorization = all.join(", ");
  }
  capTimeout(headers, "connect-timeout-ms", connectTimeoutMs, String(MAX_TIMER_MS));
  capTimeout(headers, "grpc-timeout", grpcTimeoutMs, `${Math.floor(MAX_TIMER_MS / 1000)}S`);
}

function valuesOf(rawHeaders: readonly string[], name: string): string[] {
  const values: string[] = [];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    if (rawHeaders[i]?.toLowerCase() === name) values.push(rawHeaders[i + 1] ?? "");
  }
  return values;
}

type Headers = WebRequest["headers"];

function capTimeout(
  headers: Headers,
  name: "connect-timeout-ms" | "grpc-timeout",
  parse: (value: string) => number,
  cap: string,
): void {
  const value = headers[name];
  if (typeof value === "string" && parse(value) > MAX_TIMER_MS) headers[name] = cap;
}

// Both parsers give NaN for what is malformed; that is left for the protocol to refuse.
function connectTimeoutMs(value: string): number {
  return /^\d{1,10}$/.test(value) ? Number(value) : Number.NaN;
}

const HOUR_MS = 3_600_000;
// Eight digits of any smaller unit stay below the cap, seconds and up may not.
const GRPC_UNIT_MS = { H: HOUR_MS, M: 60_000, S: 1000, m: 1, u: 0.001, n: 0.000001 } as const;

function grpcTimeoutMs(value: string): number {
  const match = /^(\d{1,8})([HMSmun])$/.exec(value);
  if (match === null) return Number.NaN;
  // The expression above admits these six letters only.
  return Number(match[1]) * GRPC_UNIT_MS[match[2] as keyof typeof GRPC_UNIT_MS];
}
