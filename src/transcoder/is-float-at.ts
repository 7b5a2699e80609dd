import { type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { findField } from "./field-path.ts";
import { hasOwnJsonForm, type Leaf, leafOf, wrappedScalar } from "./leaf-values.ts";

/**
 * Whether a float or double stands at a path of names and indices in a message's JSON. Such a field takes every number:
 * what a double holds is printed as an integer of many digits, and reads back as itself.
 */
export function isFloatAt(desc: DescMessage, path: readonly (string | number)[]): boolean {
  let leaf: Leaf = { kind: "message", message: desc };
  for (let step = 0; step < path.length; step++) {
    if (leaf.kind !== "message" || hasOwnJsonForm(leaf.message)) return false;
    const field = findField(leaf.message, String(path[step]));
    if (field === undefined) return false;
    leaf = leafOf(field);
    // The item's index or the entry's key.
    if (field.fieldKind === "list" || field.fieldKind === "map") step++;
  }
  const scalar =
    leaf.kind === "message" ? wrappedScalar(leaf.message) : leaf.kind === "scalar" ? leaf.scalar : undefined;
  return scalar === ScalarType.DOUBLE || scalar === ScalarType.FLOAT;
}
