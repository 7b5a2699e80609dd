import type { JsonValue } from "@bufbuild/protobuf";
import type { ListValue, Struct, Value } from "@bufbuild/protobuf/wkt";

/*
 * JSON comes in two forms: plain values, and the messages Value, ListValue and Struct. Both are read one level at a
 * time into this one, so that what walks them need not call itself.
 */

/** One level of a JSON value; `child` reads the next one below. */
export type JsonLevel =
  | { readonly kind: "scalar"; readonly value: string | number | boolean | null }
  | { readonly kind: "list"; readonly size: number; readonly child: (index: number) => JsonLevel }
  | { readonly kind: "object"; readonly keys: readonly string[]; readonly child: (key: string) => JsonLevel };

/** The first level of a plain JSON value. */
export function levelOfJson(value: JsonValue): JsonLevel {
  if (typeof value !== "object" || value === null) return { kind: "scalar", value };
  if (Array.isArray(value)) {
    return { kind: "list", size: value.length, child: (index) => levelOfJson(value[index] ?? null) };
  }
  return { kind: "object", keys: Object.keys(value), child: (key) => levelOfJson(value[key] ?? null) };
}

/** The first level of a message that stands for JSON; a Value without a kind reads as null. */
export function levelOfTree(tree: Value | ListValue | Struct | undefined): JsonLevel {
  switch (tree?.$typeName) {
    case "google.protobuf.Struct":
      return {
        kind: "object",
        keys: Object.keys(tree.fields),
        child: (key) => levelOfTree(tree.fields[key]),
      };
    case "google.protobuf.ListValue":
      return { kind: "list", size: tree.values.length, child: (index) => levelOfTree(tree.values[index]) };
    case "google.protobuf.Value":
      return levelOfValue(tree);
    case undefined:
      return { kind: "scalar", value: null };
  }
}

function levelOfValue({ kind }: Value): JsonLevel {
  switch (kind.case) {
    case "structValue":
    case "listValue":
      return levelOfTree(kind.value);
    case "stringValue":
    case "numberValue":
    case "boolValue":
      return { kind: "scalar", value: kind.value };
    case "nullValue":
    case undefined:
      return { kind: "scalar", value: null };
  }
}
