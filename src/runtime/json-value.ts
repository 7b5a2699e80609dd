import { fromJson, type JsonObject, type JsonValue, toBinary } from "@bufbuild/protobuf";
import { type Value, ValueSchema } from "@bufbuild/protobuf/wkt";

/** The JSON that a google.protobuf.Value stands for; one without a kind stands for null. At most some 100 levels deep. */
export function jsonOfValue({ kind }: Value): JsonValue {
  switch (kind.case) {
    case "structValue": {
      const object: JsonObject = {};
      for (const [key, value] of Object.entries(kind.value.fields)) {
        // A plain assignment to `__proto__` would change the object's prototype and lose the value.
        Object.defineProperty(object, key, {
          value: jsonOfValue(value),
          enumerable: true,
          configurable: true,
          writable: true,
        });
      }
      return object;
    }
    case "listValue":
      return kind.value.values.map(jsonOfValue);
    case "nullValue":
    case undefined:
      return null;
    default:
      return kind.value;
  }
}

/** A JSON value ready for storage: its compact text, and the larger of its sizes as JSON and as protobuf, in bytes. */
export interface PackedJson {
  text: string;
  bytes: number;
}

/** Packs a value; undefined, where there is none, stays undefined. */
export function packJson(value: Value | undefined): PackedJson | undefined {
  if (value === undefined) return undefined;
  const text = JSON.stringify(jsonOfValue(value));
  // A list of small numbers is five times larger as protobuf than as JSON; limits of messages have to hold for both.
  return { text, bytes: Math.max(Buffer.byteLength(text), toBinary(ValueSchema, value).length) };
}

/** The message of a packed value's text. */
export function unpackJson(text: string): Value {
  return fromJson(ValueSchema, JSON.parse(text) as JsonValue);
}
