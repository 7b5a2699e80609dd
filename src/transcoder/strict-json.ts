import { type DescField, type DescMessage, type JsonValue, ScalarType } from "@bufbuild/protobuf";
import { findField } from "./field-path.ts";
import { hasOwnJsonForm, isStrictlySpelled, type Leaf, leafOf } from "./leaf-values.ts";

type Check = (json: JsonValue) => boolean;

const checks = new WeakMap<DescMessage, Check>();

/**
 * Whether JSON has nothing in it that protobuf-es would take and proto3 JSON does not. False where it is not known
 * to be so: what exactly is wrong is for another to find. What each field needs is worked out once a message.
 */
export function isStrictJson(desc: DescMessage, json: JsonValue): boolean {
  return checkOf(desc)(json);
}

function checkOf(desc: DescMessage): Check {
  const known = checks.get(desc);
  if (known !== undefined) return known;
  const check = hasOwnJsonForm(desc)
    ? (json: JsonValue) => isStrictlySpelled({ kind: "message", message: desc }, json)
    : checkFields(desc);
  checks.set(desc, check);
  return check;
}

/** Fields are looked at when they are first met, since messages may hold themselves. */
function checkFields(desc: DescMessage): Check {
  const fields = new Map<string, Check | undefined>();
  return (json) => {
    if (typeof json !== "object" || json === null || Array.isArray(json)) return false;
    for (const key in json) {
      let check = fields.get(key);
      if (check === undefined && !fields.has(key)) {
        const field = findField(desc, key);
        // Names come from callers: what is unknown must not be remembered.
        if (field === undefined) return false;
        check = checkOfField(field);
        fields.set(key, check);
      }
      const value = json[key];
      if (check !== undefined && value !== undefined && value !== null && !check(value)) return false;
    }
    return true;
  };
}

/** Undefined where protobuf-es alone is strict enough. */
function checkOfField(field: DescField): Check | undefined {
  const check = checkOfLeaf(leafOf(field));
  if (check === undefined) return undefined;
  switch (field.fieldKind) {
    case "list":
      return (json) => Array.isArray(json) && json.every(check);
    case "map":
      return (json) => typeof json === "object" && json !== null && Object.values(json).every(check);
    default:
      return check;
  }
}

function checkOfLeaf(leaf: Leaf): Check | undefined {
  switch (leaf.kind) {
    case "enum":
      return undefined;
    case "scalar":
      if (leaf.scalar === ScalarType.STRING || leaf.scalar === ScalarType.BOOL) return undefined;
      return (json) => isStrictlySpelled(leaf, json);
    case "message":
      return checkOf(leaf.message);
  }
}
