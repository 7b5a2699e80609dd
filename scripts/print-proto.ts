import {
  type DescEnum,
  type DescExtension,
  type DescField,
  type DescFile,
  type DescMessage,
  ScalarType,
} from "@bufbuild/protobuf";
import { FieldDescriptorProto_Label } from "@bufbuild/protobuf/wkt";

/**
 * The text of a proto2 file, from its descriptor. Comments and custom options are left out: what imports the file
 * needs its names, numbers and types alone.
 */
export function printProtoFile(file: DescFile): string {
  const lines = ['syntax = "proto2";', `package ${file.proto.package};`];
  for (const dependency of file.proto.dependency) lines.push(`import "${dependency}";`);
  for (const descEnum of file.enums) lines.push(...printEnum(descEnum, ""));
  for (const message of file.messages) lines.push(...printMessage(message, ""));
  for (const extension of file.extensions) lines.push(...printExtension(extension, ""));
  return `${lines.join("\n")}\n`;
}

function printEnum(descEnum: DescEnum, indent: string): string[] {
  const values = descEnum.values.map((value) => `${indent}  ${value.name} = ${value.number};`);
  return [`${indent}enum ${descEnum.name} {`, ...values, `${indent}}`];
}

function printMessage(message: DescMessage, indent: string): string[] {
  const inner = `${indent}  `;
  const lines = [`${indent}message ${message.name} {`];
  for (const descEnum of message.nestedEnums) lines.push(...printEnum(descEnum, inner));
  for (const nested of message.nestedMessages) lines.push(...printMessage(nested, inner));
  for (const member of message.members) {
    if (member.kind === "field") {
      lines.push(printField(member, inner, label(member)));
      continue;
    }
    lines.push(`${inner}oneof ${member.name} {`);
    for (const field of member.fields) lines.push(printField(field, `${inner}  `, ""));
    lines.push(`${inner}}`);
  }
  for (const range of message.proto.extensionRange)
    lines.push(`${inner}extensions ${range.start} to ${extensionEnd(range.end)};`);
  for (const extension of message.nestedExtensions) lines.push(...printExtension(extension, inner));
  return [...lines, `${indent}}`];
}

function printExtension(extension: DescExtension, indent: string): string[] {
  return [
    `${indent}extend .${extension.extendee.typeName} {`,
    printField(extension, `${indent}  `, label(extension)),
    `${indent}}`,
  ];
}

function printField(field: DescField | DescExtension, indent: string, prefix: string): string {
  return `${indent}${prefix}${typeOf(field)} ${field.name} = ${field.number};`;
}

function label(field: DescField | DescExtension): string {
  switch (field.proto.label) {
    case FieldDescriptorProto_Label.REPEATED:
      return field.fieldKind === "map" ? "" : "repeated ";
    case FieldDescriptorProto_Label.REQUIRED:
      return "required ";
    case FieldDescriptorProto_Label.OPTIONAL:
      return "optional ";
  }
}

function typeOf(field: DescField | DescExtension): string {
  if (field.fieldKind === "map") {
    const value =
      field.mapKind === "scalar"
        ? scalarName(field.scalar)
        : `.${(field.mapKind === "enum" ? field.enum : field.message).typeName}`;
    return `map<${scalarName(field.mapKey)}, ${value}>`;
  }
  if (field.enum !== undefined) return `.${field.enum.typeName}`;
  if (field.message !== undefined) return `.${field.message.typeName}`;
  if (field.scalar !== undefined) return scalarName(field.scalar);
  throw new Error("a field has no type");
}

function scalarName(scalar: ScalarType): string {
  return ScalarType[scalar].toLowerCase();
}

/** The descriptor's end is exclusive and the text's inclusive; the largest is written as a word. */
function extensionEnd(end: number): string {
  return end > 536_870_911 ? "max" : String(end - 1);
}
