import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";

/* The years 1 to 9999, and 10,000 years either way: what protobuf allows, and all that JSON and a Date can print. */
const FIRST_SECOND = -62_135_596_800n;
const LAST_SECOND = 253_402_300_799n;
const LONGEST_SECONDS = 315_576_000_000n;
const NANOS_IN_SECOND = 1_000_000_000;

/** What is wrong with a time, whose numbers protobuf carries whatever they are; undefined where nothing is. */
export function timestampProblem({ seconds, nanos }: Timestamp): string | undefined {
  if (seconds < FIRST_SECOND || seconds > LAST_SECOND) return "must be a time of the years 1 to 9999";
  if (nanos < 0 || nanos >= NANOS_IN_SECOND) return "must have 0 to 999999999 nanos";
  return undefined;
}

/** What is wrong with a duration; undefined where nothing is. */
export function durationProblem({ seconds, nanos }: Duration): string | undefined {
  if (seconds < -LONGEST_SECONDS || seconds > LONGEST_SECONDS) return "must be at most 10,000 years";
  if (Math.abs(nanos) >= NANOS_IN_SECOND) return "must have fewer than 1000000000 nanos";
  const opposed = (seconds > 0n && nanos < 0) || (seconds < 0n && nanos > 0);
  return opposed ? "must have seconds and nanos of one sign" : undefined;
}
