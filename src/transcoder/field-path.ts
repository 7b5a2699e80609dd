import type { DescField, DescMessage } from "@bufbuild/protobuf";

/** A field below a message: the singular message fields that lead to it, and itself. */
export interface FieldPath {
  parents: DescField[];
  field: DescField;
}

const fieldsByName = new WeakMap<DescMessage, Map<string, DescField>>();

/** The field of that JSON name or proto name. */
export function findField(desc: DescMessage, name: string): DescField | undefined {
  let fields = fieldsByName.get(desc);
  if (fields === undefined) {
    fields = new Map();
    for (const field of desc.fields) fields.set(field.name, field).set(field.jsonName, field);
    fieldsByName.set(desc, fields);
  }
  return fields.get(name);
}

/** The field at a dotted path of JSON or proto names; a sentence where there is none. */
export function resolveFieldPath(desc: DescMessage, path: string): FieldPath | string {
  const names = path.split(".");
  const parents: DescField[] = [];
  let parent = desc;
  for (const [index, name] of names.entries()) {
    const field = findField(parent, name);
    if (field === undefined) return `${parent.typeName} has no field ${JSON.stringify(name)}`;
    if (index === names.length - 1) return { parents, field };
    if (field.fieldKind !== "message") return `${field.name} is not a message, it has no fields`;
    parents.push(field);
    parent = field.message;
  }
  return "the path is empty";
}

/** The path in proto names, by which two spellings of one field are known to be the same. */
export function protoPath({ parents, field }: FieldPath): string {
  return [...parents, field].map(({ name }) => name).join(".");
}
