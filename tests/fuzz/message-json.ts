import {
  type DescField,
  type DescMessage,
  type JsonObject,
  type JsonValue,
  ScalarType,
} from "@bufbuild/protobuf";
import fc from "fast-check";

/** Text that every database and JSON takes: no NUL, no half of a surrogate pair. */
export const text = fc
  .string({ unit: "grapheme-composite", maxLength: 8 })
  .map((all) => all.replaceAll("\0", ""));

/** The JSON of a message as protobuf prints it, some of its fields left out, a few levels deep. */
export function messageJson(desc: DescMessage, levels: number): fc.Arbitrary<JsonValue> {
  const own = ownForm(desc);
  if (own !== undefined) return own;
  // Of the members of a oneof one at most is given.
  const choices = desc.oneofs.map(({ fields }) => fc.option(fc.constantFrom(...fields), { nil: undefined }));
  const plain = desc.fields.filter(({ oneof }) => oneof === undefined);
  return fc
    .tuple(fc.subarray(plain, { maxLength: Math.min(6, plain.length) }), fc.tuple(...choices))
    .chain(([some, chosen]) => {
      const fields = [...some, ...chosen.filter((field) => field !== undefined)];
      const usable = fields.filter((field) => levels > 0 || !holdsMessages(field));
      const values = usable.map((field) =>
        fieldJson(field, levels).map((value) => [field.jsonName, value] as const),
      );
      return fc.tuple(...values).map((members): JsonObject => Object.fromEntries(members));
    });
}

function holdsMessages({ message }: DescField): boolean {
  return message !== undefined && ownForm(message) === undefined;
}

function fieldJson(field: DescField, levels: number): fc.Arbitrary<JsonValue> {
  const one = valueJson(field, levels);
  switch (field.fieldKind) {
    case "list":
      return fc.array(one, { minLength: 1, maxLength: 3 });
    case "map":
      return fc.dictionary(mapKey(field.mapKey), one, { minKeys: 1, maxKeys: 3 });
    default:
      return one;
  }
}

/** One value of a field, or one item of it. */
export function valueJson(field: DescField, levels: number): fc.Arbitrary<JsonValue> {
  if (field.message !== undefined) return messageJson(field.message, levels - 1);
  if (field.enum?.typeName === "google.protobuf.NullValue") return fc.constant(null);
  if (field.enum !== undefined) return fc.constantFrom(...field.enum.values.map(({ name }) => name));
  return scalarJson(field.scalar ?? ScalarType.STRING);
}

function scalarJson(scalar: ScalarType): fc.Arbitrary<JsonValue> {
  switch (scalar) {
    case ScalarType.STRING:
      return text;
    case ScalarType.BYTES:
      return fc.uint8Array({ maxLength: 6 }).map((bytes) => Buffer.from(bytes).toString("base64"));
    case ScalarType.BOOL:
      return fc.boolean();
    case ScalarType.DOUBLE:
      return fc.double().map(printNumber);
    case ScalarType.FLOAT:
      return fc.float().map(printNumber);
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
      return fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String);
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(String);
    case ScalarType.INT32:
    case ScalarType.SINT32:
    case ScalarType.SFIXED32:
      return fc.integer();
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return fc.integer({ min: 0, max: 2 ** 32 - 1 });
  }
}

function printNumber(value: number): JsonValue {
  return Number.isFinite(value) ? (Object.is(value, -0) ? 0 : value) : String(value);
}

function mapKey(scalar: ScalarType): fc.Arbitrary<string> {
  if (scalar === ScalarType.STRING) return text;
  return scalarJson(scalar).map(String);
}

const time = fc
  .date({ min: new Date("0001-01-01T00:00:00Z"), max: new Date("9999-12-31T23:59:59Z"), noInvalidDate: true })
  .map((date) => date.toISOString().replace(".000Z", "Z"));
const duration = fc
  .tuple(
    fc.integer({ min: -1_000_000, max: 1_000_000 }),
    fc.constantFrom("", ".500", ".000001", ".000000001"),
  )
  .map(([seconds, fraction]) => `${seconds}${fraction}s`);

/** Whole numbers beyond 2^53 are refused where any JSON is allowed, since they would lose digits. */
function withoutRounded(_key: string, value: unknown): unknown {
  return Number.isInteger(value) && !Number.isSafeInteger(value) ? 0.5 : value;
}
// What JSON.parse gives is what JsonValue describes.
const anyJson = fc
  .jsonValue({ maxDepth: 2 })
  .map((value) => JSON.parse(JSON.stringify(value), withoutRounded) as JsonValue);

/** Messages that JSON writes otherwise than as an object of their fields. */
function ownForm({ typeName, fields }: DescMessage): fc.Arbitrary<JsonValue> | undefined {
  if (
    /^google\.protobuf\.\w+Value$/.test(typeName) &&
    fields.length === 1 &&
    fields[0]?.fieldKind === "scalar"
  ) {
    return scalarJson(fields[0].scalar);
  }
  switch (typeName) {
    case "google.protobuf.Timestamp":
      return time;
    case "google.protobuf.Duration":
      return duration;
    case "google.protobuf.FieldMask":
      return fc.constantFrom("", "name", "name,labels", "stringValue,nested.boolValue");
    case "google.protobuf.Struct":
      return fc.dictionary(text, anyJson, { maxKeys: 3 });
    case "google.protobuf.ListValue":
      return fc.array(anyJson, { maxLength: 3 });
    case "google.protobuf.Value":
      return anyJson;
    case "google.protobuf.Any":
      return fc.constantFrom<JsonValue>(
        { "@type": "type.googleapis.com/zoo.v1.Sum", count: 3 },
        { "@type": "type.googleapis.com/google.protobuf.Duration", value: "1s" },
      );
    default:
      return undefined;
  }
}
