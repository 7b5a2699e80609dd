import { inspect, isDeepStrictEqual } from "node:util";

/** Nothing where a value is what it must be, otherwise a sentence that shows both. */
export function unless(what: string, found: unknown, expected: unknown): string[] {
  if (isDeepStrictEqual(found, expected)) return [];
  return [`${what}: ${inspect(found, { breakLength: Number.POSITIVE_INFINITY })}, not ${inspect(expected)}`];
}
