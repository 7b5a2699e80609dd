import {
  create,
  type DescField,
  type JsonObject,
  type JsonValue,
  type Message,
  type Registry,
} from "@bufbuild/protobuf";
import { HttpBodySchema } from "../../gen/google/api/httpbody_pb.js";
import { checkJsonText } from "./check-json-text.ts";
import type { Route } from "./compile-routes.ts";
import { decodeJson } from "./decode-json.ts";
import { protoPath } from "./field-path.ts";
import { isFloatAt } from "./is-float-at.ts";
import { describeLeaf, isAccepted, leafOf, textToJson } from "./leaf-values.ts";
import { type Admission, childObject, readQuery } from "./query-binding.ts";
import type { PathBinding } from "./route-trie.ts";
import { BindingError, findBadText, type Violation } from "./violation.ts";

/** A request as HTTP carries it: what its path bound, its raw query, and its body, decompressed. */
export interface HttpInput {
  bindings: PathBinding[];
  rawQuery: string;
  contentType: string;
  body: Uint8Array;
}

/** Whether a route's body is a google.api.HttpBody, bytes of any content type. */
export function takesHttpBody({ input, body }: Route): boolean {
  if (body.kind === "whole") return input.typeName === HttpBodySchema.typeName;
  return body.kind === "field" && isHttpBody(body.field);
}

/** Whether a field is a single google.api.HttpBody. */
export function isHttpBody(field: DescField): boolean {
  return field.fieldKind === "message" && field.message.typeName === HttpBodySchema.typeName;
}

/**
 * Binds a request to the message of its RPC: the path, then the body, then the query, none of which can
 * override the path. Throws a BindingError that lists everything that is wrong.
 */
export function bindRequest(route: Route, registry: Registry, request: HttpInput, maxDepth: number): Message {
  const raw = takesHttpBody(route);
  if (raw && route.body.kind === "whole") return httpBody(request);
  const violations: Violation[] = [];
  const root = raw ? {} : readBody(route, request.body, maxDepth, violations);
  // A message such as Struct is not an object of its fields, so that neither path nor query have any to set.
  if (isObject(root)) {
    const { bindings, rawQuery } = request;
    if (bindings.length > 0) violations.push(...writePath(route, registry, bindings, root));
    if (rawQuery !== "") {
      violations.push(...readQuery(route.input, registry, rawQuery, root, (path) => admit(route, path)));
    }
  }
  const message = decode(route, registry, root, violations);
  if (raw && route.body.kind === "field") setField(message, route.body.field, httpBody(request));
  return message;
}

function decode(route: Route, registry: Registry, json: JsonValue, violations: Violation[]): Message {
  let message: Message | undefined;
  try {
    message = decodeJson(route.input, json, registry);
  } catch (error) {
    if (!(error instanceof BindingError)) throw error;
    // protobuf-es refuses some of what the text has been refused for already.
    const known = new Set(violations.map(({ field }) => field));
    violations.push(...error.violations.filter(({ field }) => !known.has(field)));
  }
  if (message === undefined || violations.length > 0) throw new BindingError(violations);
  return message;
}

/** The JSON of the request message, as far as the body gives it. */
function readBody(route: Route, body: Uint8Array, maxDepth: number, violations: Violation[]): JsonValue {
  if (route.body.kind === "none") {
    if (body.length > 0) violations.push({ field: "", description: "this call takes no body" });
    return {};
  }
  if (body.length === 0) return {};
  const field = route.body.kind === "field" ? route.body.field.jsonName : "";
  const json = parseJson(route, body, field, maxDepth, violations);
  if (json === undefined) return {};
  return route.body.kind === "field" ? { [field]: json } : json;
}

function parseJson(
  route: Route,
  body: Uint8Array,
  root: string,
  maxDepth: number,
  violations: Violation[],
): JsonValue | undefined {
  let text: string;
  try {
    text = UTF8.decode(body);
  } catch {
    violations.push({ field: root, description: "the body is not UTF-8" });
    return undefined;
  }
  const findings = checkJsonText(text, maxDepth, root);
  violations.push(...findings.violations);
  for (const { path, violation } of findings.rounded) {
    if (!isFloatAt(route.input, root === "" ? path : [root, ...path])) violations.push(violation);
  }
  if (findings.tooDeep) {
    violations.push({ field: root, description: `the body is nested deeper than ${maxDepth} levels` });
    return undefined;
  }
  try {
    // JSON.parse gives what JsonValue describes.
    return JSON.parse(text) as JsonValue;
  } catch (error) {
    const place = error instanceof Error ? /at position \d+/.exec(error.message)?.[0] : undefined;
    violations.push({ field: root, description: ["the body is not JSON", place].filter(Boolean).join(" ") });
    return undefined;
  }
}

const UTF8 = new TextDecoder("utf-8", { fatal: true });

function writePath(route: Route, registry: Registry, bindings: PathBinding[], root: JsonObject): Violation[] {
  const violations: Violation[] = [];
  for (const [index, { fieldPath, value }] of bindings.entries()) {
    const path = route.pathFields[index];
    if (path === undefined)
      throw new Error(`${route.rpc}: ${fieldPath} is no variable of ${route.templateText}`);
    const leaf = leafOf(path.field);
    const json = textToJson(leaf, value);
    const problem = findBadText(value);
    if (problem !== undefined) violations.push({ field: fieldPath, description: problem });
    else if (json === undefined || !isAccepted(path.field, json, { registry })) {
      violations.push({ field: fieldPath, description: describeLeaf(leaf) });
    } else {
      let target = root;
      for (const parent of path.parents) {
        useJsonName(target, parent);
        target = childObject(target, parent.jsonName);
      }
      useJsonName(target, path.field);
      target[path.field.jsonName] = json;
    }
  }
  return violations;
}

/** A body may spell a field by its proto name; the path's value must replace it, not stand beside it. */
function useJsonName(target: JsonObject, field: DescField): void {
  if (field.name === field.jsonName || !Object.hasOwn(target, field.name)) return;
  const value = target[field.name];
  delete target[field.name];
  if (value !== undefined && !Object.hasOwn(target, field.jsonName)) target[field.jsonName] = value;
}

function admit(route: Route, path: Route["pathFields"][number]): Admission {
  if (route.body.kind === "whole") return { refused: "cannot be in the query: the body carries every field" };
  const canonical = protoPath(path);
  if (route.template.variables.some(({ fieldPath }) => fieldPath === canonical)) return "ignored";
  const first = path.parents[0] ?? path.field;
  if (route.body.kind === "field" && first === route.body.field) {
    return { refused: "cannot be in the query: the body carries it" };
  }
  return "bound";
}

function httpBody({ contentType, body }: HttpInput): Message {
  return create(HttpBodySchema, { contentType, data: body });
}

/** Sets a singular message field, as generated code lays it out. */
function setField(message: Message, field: DescField, value: Message): void {
  // Messages are plain objects whose properties the descriptor names; TypeScript cannot know them here.
  const properties = message as unknown as Record<string, unknown>;
  if (field.fieldKind === "message" && field.oneof !== undefined) {
    properties[field.oneof.localName] = { case: field.localName, value };
  } else {
    properties[field.localName] = value;
  }
}

function isObject(json: JsonValue): json is JsonObject {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}
