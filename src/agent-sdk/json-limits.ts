import type { JsonObject, JsonValue } from "@bufbuild/protobuf";

/** Any JSON within the contract's bounds, or what is wrong with it, to complete a sentence that begins with its name. */
export type CheckedJson<T> =
  | { readonly kind: "ok"; readonly value: T }
  | { readonly kind: "bad"; readonly problem: string };

// As the contract caps them. A message beyond the transport's own bounds would end the stream and not just be refused,
// so these are held here already.
const RESULT_BYTES = 256 * 1024;
const RESULT_LEVELS = 64;
const CONTEXT_BYTES = 16 * 1024;
const CONTEXT_LEVELS = 32;
const MESSAGE_CHARACTERS = 4096;

/** A handler's result as JSON.stringify sees it; what it leaves out becomes null. */
export function checkResult(value: unknown): CheckedJson<JsonValue> {
  return check(value, RESULT_BYTES, RESULT_LEVELS);
}

/** An error's circumstances. */
export function checkContext(value: unknown): CheckedJson<JsonObject> {
  const checked = check(value, CONTEXT_BYTES, CONTEXT_LEVELS);
  if (checked.kind === "bad") return checked;
  if (typeof checked.value !== "object" || checked.value === null || Array.isArray(checked.value))
    return { kind: "bad", problem: "must be a JSON object" };
  return { kind: "ok", value: checked.value };
}

/** A message of 1 to 4,096 characters, cut where it is longer. */
export function fittingMessage(text: string): string {
  const clean = text.replaceAll("\0", "\ufffd").toWellFormed().trim();
  if (clean === "") return "no message";
  const characters = [...clean];
  if (characters.length <= MESSAGE_CHARACTERS) return clean;
  return `${characters.slice(0, MESSAGE_CHARACTERS - 1).join("")}…`;
}

function check(value: unknown, bytes: number, levels: number): CheckedJson<JsonValue> {
  let text: string;
  try {
    text = JSON.stringify(value) ?? "null";
  } catch (error) {
    return { kind: "bad", problem: `is no JSON (${error instanceof Error ? error.message : String(error)})` };
  }
  const size = Buffer.byteLength(text);
  if (size > bytes) return { kind: "bad", problem: `takes ${size} bytes as JSON; ${bytes} are allowed` };
  if (depthOf(text) > levels) return { kind: "bad", problem: `is nested deeper than ${levels} levels` };
  // Parsed back, so that what is sent has no toJSON, no undefined and no class in it. JSON.parse gives JSON.
  return { kind: "ok", value: JSON.parse(text) as JsonValue };
}

function depthOf(json: string): number {
  let depth = 0;
  let deepest = 0;
  for (const [token] of json.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"|[[\]{}]/g)) {
    if (token === "[" || token === "{") deepest = Math.max(deepest, ++depth);
    else if (token === "]" || token === "}") depth--;
  }
  return deepest;
}
