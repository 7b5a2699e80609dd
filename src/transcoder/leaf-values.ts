import { type DescField, type DescMessage, fromJson, type JsonValue, ScalarType } from "@bufbuild/protobuf";

const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;
const BASE64 = /^([A-Za-z0-9+/_-]{4})*([A-Za-z0-9+/_-]{2}(==)?|[A-Za-z0-9+/_-]{3}=?)?$/;
const DURATION = /^-?\d+(\.\d{1,9})?s$/;
const TIMESTAMP = /^(\d{4})-(\d\d)-(\d\d)T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/;
const SPECIAL_FLOATS = new Set(["NaN", "Infinity", "-Infinity"]);

/** What a scalar, enum or message of a field is; of a list or map, what its items or values are. */
export type Leaf =
  | { kind: "scalar"; scalar: ScalarType }
  | { kind: "enum"; field: DescField }
  | { kind: "message"; message: DescMessage };

/** What the items of a list, the values of a map, or the value of any other field are. */
export function leafOf(field: DescField): Leaf {
  if (field.message !== undefined) return { kind: "message", message: field.message };
  if (field.enum !== undefined) return { kind: "enum", field };
  return { kind: "scalar", scalar: field.scalar };
}

/** Whether proto3 JSON writes messages of this type in a form of their own, not as an object of their fields. */
export function hasOwnJsonForm(desc: DescMessage): boolean {
  return OWN_FORMS.has(desc.typeName) || wrappedScalar(desc) !== undefined;
}

const OWN_FORMS = new Set(
  ["Any", "Timestamp", "Duration", "FieldMask", "Struct", "Value", "ListValue"].map(
    (name) => `google.protobuf.${name}`,
  ),
);

/** The scalar inside google.protobuf.StringValue and its like. */
export function wrappedScalar(desc: DescMessage): ScalarType | undefined {
  if (!/^google\.protobuf\.(U?Int(32|64)|Float|Double|Bool|String|Bytes)Value$/.test(desc.typeName)) {
    return undefined;
  }
  return desc.fields[0]?.scalar;
}

/**
 * Whether a string is spelled as proto3 JSON wants it where protobuf-es takes more: it reads " 5" and "0x10" as
 * integers, "1sooner" as a second, and the 30th of February as a day in March.
 */
export function isStrictlySpelled(leaf: Leaf, json: JsonValue): boolean {
  if (typeof json !== "string") return true;
  if (leaf.kind === "enum") return true;
  if (leaf.kind === "scalar") return isStrictScalar(leaf.scalar, json);
  const scalar = wrappedScalar(leaf.message);
  if (scalar !== undefined) return isStrictScalar(scalar, json);
  if (leaf.message.typeName === "google.protobuf.Duration") return DURATION.test(json);
  if (leaf.message.typeName === "google.protobuf.Timestamp") return isRealDay(json);
  return true;
}

function isStrictScalar(scalar: ScalarType, text: string): boolean {
  switch (scalar) {
    case ScalarType.STRING:
    case ScalarType.BOOL:
      return true;
    case ScalarType.BYTES:
      return BASE64.test(text);
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return NUMBER.test(text) || SPECIAL_FLOATS.has(text);
    default:
      return NUMBER.test(text);
  }
}

function isRealDay(text: string): boolean {
  const [, year, month, day] = TIMESTAMP.exec(text) ?? [];
  if (year === undefined) return false;
  const date = new Date(`${year}-${month}-${day}T00:00:00Z`);
  return date.getUTCDate() === Number(day);
}

/**
 * The JSON value that a text from a path or a query stands for, or undefined if it is malformed. Whether the
 * value is in the field's range is for the JSON mapping to say.
 */
export function textToJson(leaf: Leaf, text: string): JsonValue | undefined {
  if (leaf.kind === "enum") return /^-?\d+$/.test(text) ? Number(text) : text;
  const scalar = leaf.kind === "scalar" ? leaf.scalar : wrappedScalar(leaf.message);
  if (scalar !== undefined) return scalarTextToJson(scalar, text);
  if (leaf.kind === "message" && leaf.message.typeName === "google.protobuf.FieldMask") {
    const paths = text.split(",").map(jsonFieldPath);
    return paths.includes(undefined) ? undefined : paths.join(",");
  }
  return isStrictlySpelled(leaf, text) ? text : undefined;
}

/** A path of a FieldMask as JSON wants it, in lowerCamelCase; undefined for a proto name that has no such form. */
function jsonFieldPath(path: string): string | undefined {
  if (!path.includes("_")) return path;
  const camel = path.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
  const snake = camel.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return snake === path ? camel : undefined;
}

function scalarTextToJson(scalar: ScalarType, text: string): JsonValue | undefined {
  if (scalar === ScalarType.BOOL) return text === "true" ? true : text === "false" ? false : undefined;
  if (!isStrictScalar(scalar, text)) return undefined;
  return isInteger64(scalar) ? plainInteger(text) : text;
}

function isInteger64(scalar: ScalarType): boolean {
  switch (scalar) {
    case ScalarType.INT64:
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
    case ScalarType.SINT64:
      return true;
    default:
      return false;
  }
}

/** Writes 1e3 or 5.0 as 1000 or 5, which BigInt reads; undefined for what is no whole number a double holds. */
function plainInteger(text: string): string | undefined {
  if (/^-?\d+$/.test(text)) return text;
  const number = Number(text);
  return Number.isSafeInteger(number) ? String(number) : undefined;
}

/** Whether a path or a query can give such a value: scalars, enums, and messages that are one string in JSON. */
export function isTextual(leaf: Leaf): boolean {
  if (leaf.kind !== "message") return true;
  return wrappedScalar(leaf.message) !== undefined || TEXTUAL_MESSAGES.has(leaf.message.typeName);
}

const TEXTUAL_MESSAGES = new Set(
  ["Timestamp", "Duration", "FieldMask"].map((name) => `google.protobuf.${name}`),
);

/** Whether protobuf-es takes this JSON for a field. It is asked leaf by leaf only after it refused the whole. */
export function isAccepted(
  field: DescField,
  json: JsonValue,
  options: Parameters<typeof fromJson>[2],
): boolean {
  try {
    fromJson(field.parent, { [field.jsonName]: json }, options);
    return true;
  } catch {
    return false;
  }
}

/** What a value must be, to tell a caller who sent another. */
export function describeLeaf(leaf: Leaf): string {
  switch (leaf.kind) {
    case "scalar":
      return `must be ${SCALARS[leaf.scalar]}`;
    case "enum":
      return `must be one of ${enumSpellings(leaf.field)}`;
    case "message":
      return describeMessage(leaf.message);
  }
}

function describeMessage(desc: DescMessage): string {
  const scalar = wrappedScalar(desc);
  if (scalar !== undefined) return `must be ${SCALARS[scalar]}`;
  return `must be ${MESSAGES[desc.typeName] ?? "an object"}`;
}

function enumSpellings(field: DescField): string {
  const names = [...new Set(field.enum?.values.map(({ jsonName }) => jsonName))];
  return names.length > 20 ? `${names.slice(0, 20).join(", ")}, …` : names.join(", ");
}

const MESSAGES: Partial<Record<string, string>> = {
  "google.protobuf.Any": "an object with @type, the name of a known message",
  "google.protobuf.Timestamp": 'a time such as "2024-02-29T12:30:00Z"',
  "google.protobuf.Duration": 'a duration in seconds such as "1.5s"',
  "google.protobuf.FieldMask": 'field paths such as "name,labels"',
  "google.protobuf.ListValue": "an array",
};

const INT32 = "a whole number from -2147483648 to 2147483647";
const UINT32 = "a whole number from 0 to 4294967295";
const INT64 = "a whole number of 64 bits, as a string if it is beyond 2^53";
const UINT64 = "a whole number of 64 bits that is not negative, as a string if it is beyond 2^53";

const SCALARS: Record<ScalarType, string> = {
  [ScalarType.DOUBLE]: "a number",
  [ScalarType.FLOAT]: "a number in the range of 32-bit floats",
  [ScalarType.INT64]: INT64,
  [ScalarType.SFIXED64]: INT64,
  [ScalarType.SINT64]: INT64,
  [ScalarType.UINT64]: UINT64,
  [ScalarType.FIXED64]: UINT64,
  [ScalarType.INT32]: INT32,
  [ScalarType.SFIXED32]: INT32,
  [ScalarType.SINT32]: INT32,
  [ScalarType.UINT32]: UINT32,
  [ScalarType.FIXED32]: UINT32,
  [ScalarType.BOOL]: "true or false",
  [ScalarType.STRING]: "a string",
  [ScalarType.BYTES]: "bytes in base64",
};
