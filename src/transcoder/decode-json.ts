import {
  type DescField,
  type DescMessage,
  type DescOneof,
  fromJson,
  type JsonValue,
  type Message,
  type Registry,
} from "@bufbuild/protobuf";
import { findField } from "./field-path.ts";
import { describeLeaf, hasOwnJsonForm, isAccepted, isStrictlySpelled, leafOf } from "./leaf-values.ts";
import { isStrictJson } from "./strict-json.ts";
import { BindingError, itemPath, MAX_VIOLATIONS, memberPath, type Violation } from "./violation.ts";

/** More than any body that passed the check of its depth can need: a Value and its ListValue count apart. */
const RECURSION_LIMIT = 1000;

/**
 * Reads JSON into a message by protobuf-es. Throws a BindingError that lists everything wrong with it: unknown
 * fields, values of the wrong type, members of one oneof given together.
 */
export function decodeJson(desc: DescMessage, json: JsonValue, registry: Registry): Message {
  const options = { registry, recursionLimit: RECURSION_LIMIT };
  if (isStrictJson(desc, json)) {
    try {
      return fromJson(desc, json, options);
    } catch {
      // protobuf-es names only the first problem, so they are all looked for below.
    }
  }
  const violations = new JsonCheck(options).run(desc, json);
  if (violations.length > 0) throw new BindingError(violations);
  throw new BindingError([{ field: "", description: `is not JSON of ${desc.typeName}` }]);
}

/**
 * A walk over JSON beside its descriptor that finds everything wrong with it, what protobuf-es is too lenient about
 * too. Its recursion follows messages, whose depth the check of the text has bounded.
 */
class JsonCheck {
  readonly #options: { registry: Registry; recursionLimit: number };
  readonly #violations: Violation[] = [];

  constructor(options: { registry: Registry; recursionLimit: number }) {
    this.#options = options;
  }

  run(desc: DescMessage, json: JsonValue): Violation[] {
    if (!hasOwnJsonForm(desc)) this.#checkMessage(desc, json, "");
    else if (!isStrictlySpelled({ kind: "message", message: desc }, json)) {
      this.#report("", describeLeaf({ kind: "message", message: desc }));
    } else this.#checkRoot(desc, json);
    return this.#violations;
  }

  #checkRoot(desc: DescMessage, json: JsonValue): void {
    try {
      fromJson(desc, json, this.#options);
    } catch {
      this.#report("", describeLeaf({ kind: "message", message: desc }));
    }
  }

  #checkMessage(desc: DescMessage, json: JsonValue, path: string): void {
    if (typeof json !== "object" || json === null || Array.isArray(json)) {
      this.#report(path, "must be an object");
      return;
    }
    const seen = new SeenFields();
    for (const key of Object.keys(json)) {
      const field = findField(desc, key);
      const value = json[key];
      const problem = field === undefined ? "is not a known field" : seen.note(field, value);
      if (problem !== undefined) this.#report(memberPath(path, key), problem);
      if (field !== undefined && value !== undefined) this.#checkField(field, value, path, key);
    }
  }

  #checkField(field: DescField, json: JsonValue, parent: string, key: string): void {
    if (json === null) {
      // Null leaves a field unset, whatever its type.
      return;
    }
    if (field.fieldKind === "list") this.#checkList(field, json, memberPath(parent, key));
    else if (field.fieldKind === "map") this.#checkMap(field, json, memberPath(parent, key));
    else this.#checkValue(field, json, json, () => memberPath(parent, key));
  }

  #checkList(field: DescField, json: JsonValue, path: string): void {
    if (!Array.isArray(json)) {
      this.#report(path, "must be an array");
      return;
    }
    for (const [index, item] of json.entries()) {
      this.#checkValue(field, item, [item], () => itemPath(path, index));
    }
  }

  #checkMap(field: DescField, json: JsonValue, path: string): void {
    if (typeof json !== "object" || json === null || Array.isArray(json)) {
      this.#report(path, "must be an object");
      return;
    }
    for (const [key, value] of Object.entries(json)) {
      this.#checkValue(field, value, Object.fromEntries([[key, value]]), () => memberPath(path, key));
    }
  }

  /** `alone` is what the whole field would be if it held nothing but this value. */
  #checkValue(field: DescField, json: JsonValue, alone: JsonValue, path: () => string): void {
    const leaf = leafOf(field);
    if (leaf.kind === "message" && json !== null && !hasOwnJsonForm(leaf.message)) {
      this.#checkMessage(leaf.message, json, path());
    } else if (!isStrictlySpelled(leaf, json)) {
      this.#report(path(), describeLeaf(leaf));
    } else if (!isAccepted(field, alone, this.#options)) {
      this.#report(path(), describeLeaf(leaf));
    }
  }

  #report(field: string, description: string): void {
    if (this.#violations.length < MAX_VIOLATIONS) this.#violations.push({ field, description });
  }
}

/** Which fields and oneofs one object has given so far. */
class SeenFields {
  readonly #fields = new Set<DescField>();
  readonly #oneofs = new Map<DescOneof, DescField>();

  /** What is wrong with giving this field as well. */
  note(field: DescField, value: JsonValue | undefined): string | undefined {
    if (this.#fields.has(field)) return "is given twice, by its JSON name and its proto name";
    this.#fields.add(field);
    if (field.oneof === undefined || value === null) return undefined;
    const other = this.#oneofs.get(field.oneof);
    this.#oneofs.set(field.oneof, field);
    return other && `cannot be given together with ${other.jsonName}`;
  }
}
