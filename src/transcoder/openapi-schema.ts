import {
  type DescEnum,
  type DescField,
  type DescMessage,
  type JsonObject,
  type JsonValue,
  ScalarType,
} from "@bufbuild/protobuf";
import { hasOwnJsonForm, type Leaf, leafOf, wrappedScalar } from "./leaf-values.ts";
import { ERROR_SCHEMAS } from "./openapi-errors.ts";

/** A protobuf element's comment by its full name ("pkg.Message.field"); undefined without one. */
export type FindComment = (name: string) => string | undefined;

/** What a field's own rules add to its schema, such as `maxLength`. */
export type ConstrainField = (field: DescField) => JsonObject;

// The compiler's own features.field_presence: a field of this kind is written even where it has no value.
const IMPLICIT_PRESENCE = 2;

/**
 * JSON Schemas of messages and enums, as components that are referred to by name. What only answers hold lists as
 * required what is always written; what requests hold is bound by the rules of its fields instead.
 */
export class SchemaComponents {
  readonly schemas: Record<string, JsonObject> = {};
  readonly #names: Map<string, string>;
  readonly #inRequests: Set<DescMessage>;
  readonly #comment: FindComment;
  readonly #constrain: ConstrainField;

  constructor(
    requests: Iterable<DescMessage>,
    answers: Iterable<DescMessage>,
    comment: FindComment,
    constrain: ConstrainField,
  ) {
    this.#inRequests = reachable(requests);
    this.#names = shortNames([...this.#inRequests, ...reachable(answers)]);
    this.#comment = comment;
    this.#constrain = constrain;
  }

  /** A field's value, with its comment. */
  ofField(field: DescField): JsonObject {
    const schema = this.#ofValue(field);
    const description = this.#describe(field);
    return {
      ...schema,
      ...(this.#inRequests.has(field.parent) ? this.#constrain(field) : {}),
      ...(description === "" ? {} : { description }),
      ...(field.deprecated || field.proto.options?.deprecated ? { deprecated: true } : {}),
    };
  }

  /** A whole message: what it is in JSON where that is a form of its own, otherwise a reference. */
  ofMessage(desc: DescMessage): JsonObject {
    const own = ownForm(desc);
    if (own !== undefined) return own;
    const name = this.#nameOf(desc.typeName);
    if (this.schemas[name] === undefined) {
      // Registered before its fields are looked at, since a message may hold itself.
      this.schemas[name] = {};
      this.schemas[name] = this.#ofFields(desc, desc.fields);
    }
    return reference(name);
  }

  /** A message without some of its fields, for a body beside a path that carries them. */
  ofMessageWithout(desc: DescMessage, left: readonly DescField[]): JsonObject {
    if (left.length === 0 || ownForm(desc) !== undefined) return this.ofMessage(desc);
    const name = `${this.#nameOf(desc.typeName)}.without.${left.map(({ name }) => name).join(".")}`;
    this.schemas[name] ??= this.#ofFields(
      desc,
      desc.fields.filter((field) => !left.includes(field)),
    );
    return reference(name);
  }

  #ofFields(desc: DescMessage, fields: readonly DescField[]): JsonObject {
    const description = this.#comment(desc.typeName);
    const required = this.#inRequests.has(desc)
      ? []
      : fields.filter(isAlwaysWritten).map(({ jsonName }) => jsonName);
    return {
      type: "object",
      ...(description === undefined ? {} : { description }),
      properties: Object.fromEntries(fields.map((field) => [field.jsonName, this.ofField(field)])),
      ...(required.length === 0 ? {} : { required }),
      additionalProperties: false,
    };
  }

  #ofValue(field: DescField): JsonObject {
    const one = this.#ofLeaf(leafOf(field));
    switch (field.fieldKind) {
      case "list":
        return { type: "array", items: one };
      case "map":
        return { type: "object", ...mapKeys(field.mapKey), additionalProperties: one };
      default:
        return one;
    }
  }

  #ofLeaf(leaf: Leaf): JsonObject {
    switch (leaf.kind) {
      case "scalar":
        return scalarSchema(leaf.scalar);
      case "enum":
        return leaf.field.enum === undefined ? {} : this.#ofEnum(leaf.field.enum);
      case "message":
        return this.ofMessage(leaf.message);
    }
  }

  #ofEnum(desc: DescEnum): JsonObject {
    if (desc.typeName === "google.protobuf.NullValue") return { type: "null" };
    const name = this.#nameOf(desc.typeName);
    this.schemas[name] ??= this.#schemaOfEnum(desc);
    return reference(name);
  }

  #schemaOfEnum(desc: DescEnum): JsonObject {
    const names = [...new Set(desc.values.map(({ jsonName }) => jsonName))];
    const lines = desc.values.map((value) => {
      const comment = this.#comment(`${desc.typeName}.${value.name}`);
      return comment === undefined ? "" : `- \`${value.jsonName}\`: ${comment}`;
    });
    const isShort = desc.values.some(({ name, jsonName }) => name !== jsonName);
    const spellings = isShort
      ? "Requests may also spell values in capitals, by their full names or numbers."
      : "";
    const description = [this.#comment(desc.typeName) ?? "", lines.filter(Boolean).join("\n"), spellings]
      .filter(Boolean)
      .join("\n\n");
    return { type: "string", ...(description === "" ? {} : { description }), enum: names };
  }

  #describe(field: DescField): string {
    const oneof = field.oneof?.fields.map(({ jsonName }) => `\`${jsonName}\``).join(", ");
    const choice = oneof === undefined ? "" : `At most one of ${oneof} is given.`;
    return [this.#comment(`${field.parent.typeName}.${field.name}`) ?? "", choice].filter(Boolean).join(" ");
  }

  #nameOf(typeName: string): string {
    return this.#names.get(typeName) ?? typeName;
  }
}

function reference(name: string): JsonObject {
  return { $ref: `#/components/schemas/${name}` };
}

/** Whether an answer holds the field even where it has no value of its own. */
function isAlwaysWritten(field: DescField): boolean {
  return field.fieldKind === "list" || field.fieldKind === "map" || field.presence === IMPLICIT_PRESENCE;
}

function reachable(roots: Iterable<DescMessage>): Set<DescMessage> {
  const found = new Set<DescMessage>();
  const left = [...roots];
  for (let desc = left.pop(); desc !== undefined; desc = left.pop()) {
    if (found.has(desc)) continue;
    found.add(desc);
    if (!hasOwnJsonForm(desc)) for (const { message } of desc.fields) if (message) left.push(message);
  }
  return found;
}

/** Names without their package, where that leaves every two of them different, also from the errors' own. */
function shortNames(messages: readonly DescMessage[]): Map<string, string> {
  const elements = messages.flatMap((desc) => [
    desc,
    ...desc.fields.flatMap((field) => (field.enum === undefined ? [] : [field.enum])),
  ]);
  const names = new Map<string, string>();
  for (const { typeName, file } of elements)
    names.set(typeName, typeName.slice(file.proto.package.length + 1));
  const used = new Set([...names.values(), ...Object.keys(ERROR_SCHEMAS)]);
  return used.size === names.size + Object.keys(ERROR_SCHEMAS).length ? names : new Map();
}

/** Messages that JSON writes otherwise than as an object of their fields. */
function ownForm(desc: DescMessage): JsonObject | undefined {
  const scalar = wrappedScalar(desc);
  if (scalar !== undefined) return { anyOf: [scalarSchema(scalar), { type: "null" }] };
  const form = OWN_FORMS[desc.typeName];
  return form === undefined ? undefined : { ...form };
}

const OWN_FORMS: Partial<Record<string, JsonObject>> = {
  "google.protobuf.Any": {
    type: "object",
    properties: { "@type": { type: "string" } },
    required: ["@type"],
    additionalProperties: true,
  },
  "google.protobuf.Timestamp": { type: "string", format: "date-time" },
  "google.protobuf.Duration": { type: "string", pattern: "^-?[0-9]+(\\.[0-9]{1,9})?s$", examples: ["15s"] },
  "google.protobuf.FieldMask": { type: "string" },
  "google.protobuf.Struct": { type: "object", additionalProperties: true },
  "google.protobuf.Value": {},
  "google.protobuf.ListValue": { type: "array", items: {} },
};

const INTEGER_64: JsonObject = { type: "string", format: "int64", pattern: "^-?[0-9]+$" };
const UNSIGNED_64: JsonObject = { type: "string", format: "uint64", pattern: "^[0-9]+$" };
const INTEGER_32: JsonObject = {
  type: "integer",
  format: "int32",
  minimum: -2147483648,
  maximum: 2147483647,
};
const UNSIGNED_32: JsonObject = { type: "integer", format: "uint32", minimum: 0, maximum: 4294967295 };

/** A scalar as proto3 JSON writes it. */
export function scalarSchema(scalar: ScalarType): JsonObject {
  switch (scalar) {
    case ScalarType.STRING:
      return { type: "string" };
    case ScalarType.BYTES:
      return { type: "string", contentEncoding: "base64" };
    case ScalarType.BOOL:
      return { type: "boolean" };
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return { ...floatSchema(scalar === ScalarType.DOUBLE ? "double" : "float") };
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
      return { ...INTEGER_64 };
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return { ...UNSIGNED_64 };
    case ScalarType.INT32:
    case ScalarType.SINT32:
    case ScalarType.SFIXED32:
      return { ...INTEGER_32 };
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return { ...UNSIGNED_32 };
  }
}

function floatSchema(format: string): JsonObject {
  const special: JsonValue[] = ["NaN", "Infinity", "-Infinity"];
  return {
    anyOf: [
      { type: "number", format },
      { type: "string", enum: special },
    ],
  };
}

/** Keys of maps are always strings in JSON; those of numbers and truth values look like them. */
function mapKeys(scalar: ScalarType): JsonObject {
  if (scalar === ScalarType.STRING) return {};
  if (scalar === ScalarType.BOOL) return { propertyNames: { enum: ["true", "false"] } };
  return { propertyNames: { pattern: "^-?[0-9]+$" } };
}
