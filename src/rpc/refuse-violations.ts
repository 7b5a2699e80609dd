import { Refusal, type Violation } from "../runtime/refusal.ts";

/*
 * In gRPC a refusal travels in trailers, its text percent-encoded and its details in base64, and clients accept as
 * little as 8 KiB of those in all. Beyond that a caller would learn nothing but that the call failed.
 */
const MAX_LISTED = 100;
const MAX_LISTED_BYTES = 4096;
const MAX_ENCODED_TEXT = 2048;
/** What protobuf adds to a violation's two texts: tags and lengths. */
const FRAME_BYTES = 8;
/** A field's path can hold a key as long as a body; its beginning tells which one it is. */
const LONGEST_FIELD = 256;

/** INVALID_ARGUMENT with the violations, all of them unless they are too many or too long for an answer. */
export function refuseViolations(violations: readonly Violation[]): Refusal {
  const listed = withinBudget(
    violations.map(({ field, description }) => ({ field: clip(field), description })),
  );
  return new Refusal("invalid-argument", textOf(listed, violations.length), { violations: listed });
}

function withinBudget(violations: Violation[]): Violation[] {
  let bytes = 0;
  const end = violations.findIndex(({ field, description }) => {
    bytes += Buffer.byteLength(field) + Buffer.byteLength(description) + FRAME_BYTES;
    return bytes > MAX_LISTED_BYTES;
  });
  return violations.slice(0, end === -1 ? MAX_LISTED : Math.min(Math.max(end, 1), MAX_LISTED));
}

function textOf(listed: readonly Violation[], count: number): string {
  const sentences: string[] = [];
  let encoded = 0;
  for (const { field, description } of listed) {
    const sentence = `${field}: ${description}`;
    encoded += encodeURIComponent(sentence).length;
    if (encoded > MAX_ENCODED_TEXT && sentences.length > 0) break;
    sentences.push(sentence);
  }
  const rest = count - sentences.length;
  if (rest > 0) sentences.push(`and ${rest} more`);
  return sentences.join("; ");
}

function clip(field: string): string {
  // A cut through a surrogate pair would leave half of it, which no protocol can send.
  return field.length <= LONGEST_FIELD ? field : `${field.slice(0, LONGEST_FIELD).toWellFormed()}…`;
}
