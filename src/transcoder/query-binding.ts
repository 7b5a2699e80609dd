import type {
  DescField,
  DescFile,
  DescMessage,
  DescOneof,
  JsonObject,
  Message,
  Registry,
} from "@bufbuild/protobuf";
import { decodeJson } from "./decode-json.ts";
import { type FieldPath, protoPath, resolveFieldPath } from "./field-path.ts";
import { JsonDialect } from "./json-dialect.ts";
import { describeLeaf, isAccepted, isTextual, leafOf, textToJson } from "./leaf-values.ts";
import { decodePercent } from "./percent-decoding.ts";
import { BindingError, findBadText, MAX_VIOLATIONS, type Violation } from "./violation.ts";

/** A query as a message, or everything that is wrong with it. */
export type QueryResult = { ok: true; message: Message } | { ok: false; violations: Violation[] };

/** What becomes of a query parameter: it is bound, left alone, or refused with a sentence. */
export type Admission = "bound" | "ignored" | { refused: string };

/** No name reaches deeper than a body could. */
const MAX_NAMES = 64;

const dialects = new WeakMap<DescFile, JsonDialect>();

/**
 * Binds a raw query ("a=1&b.c=2", without its question mark) to a message: nested names, repeated names for
 * repeated fields, JSON and proto names. Fields of a violation are the names as they were given.
 */
export function bindQuery(desc: DescMessage, rawQuery: string): QueryResult {
  const dialect = dialects.get(desc.file) ?? new JsonDialect([desc.file], "short");
  dialects.set(desc.file, dialect);
  const target = dialect.message(desc);
  const json: JsonObject = {};
  const violations = readQuery(target, dialect.registry, rawQuery, json, () => "bound");
  if (violations.length > 0) return { ok: false, violations };
  try {
    return { ok: true, message: decodeJson(target, json, dialect.registry) };
  } catch (error) {
    if (error instanceof BindingError) return { ok: false, violations: error.violations };
    throw error;
  }
}

/** Writes a query's parameters into the JSON of a message, and returns what is wrong with them. */
export function readQuery(
  desc: DescMessage,
  registry: Registry,
  rawQuery: string,
  json: JsonObject,
  admit: (path: FieldPath) => Admission,
): Violation[] {
  const reader = new QueryReader(desc, registry, json, admit);
  for (const pair of rawQuery.split("&")) if (pair !== "") reader.read(pair);
  return reader.violations;
}

class QueryReader {
  readonly violations: Violation[] = [];
  readonly #desc: DescMessage;
  readonly #registry: Registry;
  readonly #json: JsonObject;
  readonly #admit: (path: FieldPath) => Admission;
  readonly #given = new Set<string>();
  /** By the path of the message that holds the oneof, and the oneof. */
  readonly #members = new Map<string, Map<DescOneof, DescField>>();

  constructor(
    desc: DescMessage,
    registry: Registry,
    json: JsonObject,
    admit: (path: FieldPath) => Admission,
  ) {
    this.#desc = desc;
    this.#registry = registry;
    this.#json = json;
    this.#admit = admit;
  }

  read(pair: string): void {
    const equals = pair.indexOf("=");
    const rawName = equals < 0 ? pair : pair.slice(0, equals);
    const name = decodeQuery(rawName);
    const value = decodeQuery(equals < 0 ? "" : pair.slice(equals + 1));
    const problem =
      name === undefined || value === undefined
        ? "is not UTF-8 in percent-encoding"
        : (findBadText(name) ?? findBadText(value) ?? this.#bind(name, value));
    if (problem !== undefined && this.violations.length < MAX_VIOLATIONS) {
      this.violations.push({ field: name ?? rawName, description: problem });
    }
  }

  #bind(name: string, text: string): string | undefined {
    if (name.split(".", MAX_NAMES + 1).length > MAX_NAMES) return `is nested deeper than ${MAX_NAMES} levels`;
    const path = resolveFieldPath(this.#desc, name);
    if (typeof path === "string") return path;
    const admission = this.#admit(path);
    if (admission === "ignored") return undefined;
    if (admission !== "bound") return admission.refused;
    return this.#findConflict(path) ?? this.#write(path, text);
  }

  #findConflict(path: FieldPath): string | undefined {
    const { field } = path;
    const leaf = leafOf(field);
    if (field.fieldKind === "map") return "is a map, which a query cannot give";
    if (!isTextual(leaf)) return "is a message, which a query gives field by field, if at all";
    const canonical = protoPath(path);
    if (field.fieldKind !== "list" && this.#given.has(canonical)) return "is given twice";
    this.#given.add(canonical);
    let parent = "";
    for (const step of [...path.parents, field]) {
      const conflict = step.oneof && this.#claim(parent, step.oneof, step);
      if (conflict !== undefined) return conflict;
      parent = `${parent}${step.name}.`;
    }
    return undefined;
  }

  #claim(parent: string, oneof: DescOneof, field: DescField): string | undefined {
    const members = this.#members.get(parent) ?? new Map<DescOneof, DescField>();
    this.#members.set(parent, members);
    const member = members.get(oneof) ?? field;
    members.set(oneof, member);
    return member === field ? undefined : `cannot be given together with ${parent}${member.name}`;
  }

  #write({ parents, field }: FieldPath, text: string): string | undefined {
    const leaf = leafOf(field);
    const value = textToJson(leaf, text);
    const isList = field.fieldKind === "list";
    if (value === undefined || !isAccepted(field, isList ? [value] : value, { registry: this.#registry })) {
      return describeLeaf(leaf);
    }
    let target = this.#json;
    for (const parent of parents) target = childObject(target, parent.jsonName);
    const list = target[field.jsonName];
    if (!isList) target[field.jsonName] = value;
    else if (Array.isArray(list)) list.push(value);
    else target[field.jsonName] = [value];
    return undefined;
  }
}

/** The object under a name, made if there is none. */
export function childObject(parent: JsonObject, name: string): JsonObject {
  const child = parent[name];
  if (typeof child === "object" && child !== null && !Array.isArray(child)) return child;
  const made: JsonObject = {};
  parent[name] = made;
  return made;
}

/** In a query, unlike in a path, a plus is a space. */
function decodeQuery(raw: string): string | undefined {
  return decodePercent(raw.includes("+") ? raw.replaceAll("+", " ") : raw);
}
