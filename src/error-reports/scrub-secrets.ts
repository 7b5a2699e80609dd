import type { JsonObject, JsonValue } from "@bufbuild/protobuf";
import { findCredentials } from "./credentials.ts";
import { findKeyValues } from "./key-values.ts";
import { isSecretKey } from "./secret-key.ts";
import { type Replacement, redacted, replaceAll, type SecretSpan } from "./secret-span.ts";
import { type TextView, viewsOf } from "./text-view.ts";
import { findTokenShapes } from "./token-shapes.ts";

// Cutting one secret out can uncover another that its neighbour hid; a text that was not built to do so needs one
// pass, and a second one that finds nothing.
const mostPasses = 4;

/**
 * Replaces the secrets in a text by `[REDACTED]`: tokens of known form, credentials after their scheme, passwords in
 * URLs, the values of secret keys; also where they are percent-encoded or escaped. Takes time in proportion to the
 * length, whatever the text.
 */
export function scrubText(text: string): string {
  let scrubbed = text;
  for (let pass = 0; pass < mostPasses; pass++) {
    const before = scrubbed;
    scrubbed = scrubOnce(before);
    if (scrubbed === before) break;
  }
  return scrubbed;
}

function scrubOnce(text: string): string {
  const replacements = [...viewsOf(text)].flatMap((view) =>
    [findTokenShapes, findCredentials, findKeyValues]
      .flatMap((find) => find(view.text))
      .map((span) => inOriginal(text, view, span)),
  );
  return replaceAll(text, replacements);
}

function inOriginal(text: string, view: TextView, span: SecretSpan): Replacement {
  const { quoteAt } = span;
  // The quote as the original writes it, `\"` or `%22`.
  const quote = quoteAt === undefined ? "" : text.slice(view.startAt(quoteAt), view.startAt(quoteAt + 1));
  return { start: view.startAt(span.start), end: view.startAt(span.end), by: `${quote}${redacted}${quote}` };
}

/** `scrubJson` for an object, such as an error's context. */
export function scrubContext(context: JsonObject): JsonObject {
  const scrubbed: JsonObject = {};
  const work: Container[] = [[context, scrubbed]];
  fill(work);
  return scrubbed;
}

/**
 * A copy of a JSON value without its secrets: whatever stands under a secret key becomes `[REDACTED]` whole, and every
 * other string, keys included, goes through `scrubText`. Works without recursion, at any depth.
 */
export function scrubJson(value: JsonValue): JsonValue {
  const holder: JsonValue[] = [];
  fill([[[value], holder]]);
  return holder[0] ?? null;
}

/** A source object or array, and the empty one that takes its scrubbed content. */
type Container = readonly [JsonObject, JsonObject] | readonly [JsonValue[], JsonValue[]];

function fill(work: Container[]): void {
  for (let next = work.pop(); next !== undefined; next = work.pop()) {
    if (isArrays(next)) for (const item of next[0]) next[1].push(scrubbedChild(item, work));
    else fillObject(next[0], next[1], work);
  }
}

function fillObject(source: JsonObject, target: JsonObject, work: Container[]): void {
  const nameOf = uniqueNames();
  for (const [key, value] of Object.entries(source)) {
    const name = nameOf(scrubText(key));
    // The key as it came and as it is kept: only then does a second scrubbing find nothing new.
    const secret = isSecretKey(key) || isSecretKey(name);
    setOwn(target, name, secret ? redactedValue(value) : scrubbedChild(value, work));
  }
}

// `true`, `false` and `null` stay: one bit is no secret, and tells whoever reads the error whether there was one.
function redactedValue(value: JsonValue): JsonValue {
  return value === null || typeof value === "boolean" ? value : redacted;
}

function scrubbedChild(value: JsonValue, work: Container[]): JsonValue {
  if (typeof value === "string") return scrubText(value);
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) {
    const target: JsonValue[] = [];
    work.push([value, target]);
    return target;
  }
  const target: JsonObject = {};
  work.push([value, target]);
  return target;
}

function isArrays(container: Container): container is readonly [JsonValue[], JsonValue[]] {
  return Array.isArray(container[0]);
}

/** Two keys that were secrets must not fall together, or the value of one would be lost: the second gets a number. */
function uniqueNames(): (name: string) => string {
  const used = new Set<string>();
  const counts = new Map<string, number>();
  return (name) => {
    let unique = name;
    let count = counts.get(name) ?? 1;
    while (used.has(unique)) {
      count++;
      unique = `${name}#${count}`;
    }
    counts.set(name, count);
    used.add(unique);
    return unique;
  };
}

// A plain assignment to `__proto__` would change the object's prototype and lose the value.
function setOwn(target: JsonObject, key: string, value: JsonValue): void {
  if (key === "__proto__") {
    Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true });
  } else {
    target[key] = value;
  }
}
