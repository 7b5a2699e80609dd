import { Code, ConnectError } from "@connectrpc/connect";

const UNIT_MS: Record<string, number> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };

const NAMES = ["grpc-timeout", "connect-timeout-ms", "x-server-timeout"];

/**
 * The time a caller gives its call, in milliseconds: the shortest of Grpc-Timeout, Connect-Timeout-Ms and
 * X-Server-Timeout (seconds), capped at `maxMs`; undefined without any. Throws INVALID_ARGUMENT for a malformed one.
 */
export function readTimeoutMs(headers: NodeJS.Dict<string | string[]>, maxMs: number): number | undefined {
  if (NAMES.every((name) => headers[name] === undefined)) return undefined;
  const timeouts = [
    readHeader(headers, "grpc-timeout", grpcTimeoutMs),
    readHeader(headers, "connect-timeout-ms", connectTimeoutMs),
    readHeader(headers, "x-server-timeout", serverTimeoutMs),
  ].filter((timeoutMs) => timeoutMs !== undefined);
  return Math.min(maxMs, ...timeouts);
}

function readHeader(
  headers: NodeJS.Dict<string | string[]>,
  name: string,
  parse: (value: string) => number | undefined,
): number | undefined {
  const value = headers[name];
  if (value === undefined) return undefined;
  const timeoutMs = parse(String(value).trim());
  if (timeoutMs === undefined)
    throw new ConnectError(`the header ${name} is malformed`, Code.InvalidArgument);
  return timeoutMs;
}

function grpcTimeoutMs(value: string): number | undefined {
  const [, amount, unit] = /^(\d{1,8})([HMSmun])$/.exec(value) ?? [];
  if (amount === undefined || unit === undefined) return undefined;
  return Number(amount) * (UNIT_MS[unit] ?? 1);
}

function connectTimeoutMs(value: string): number | undefined {
  return /^\d{1,10}$/.test(value) ? Number(value) : undefined;
}

function serverTimeoutMs(value: string): number | undefined {
  return /^\d{1,10}(\.\d{1,9})?$/.test(value) ? Number(value) * 1000 : undefined;
}
