import {
  create,
  createFileRegistry,
  type DescEnum,
  type DescFile,
  type DescMessage,
  type FileRegistry,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { shortEnumNames } from "./enum-names.ts";

/** How enum values are spelled in JSON that goes out: AGENT_STATUS_ONLINE is "online" or itself. */
export type EnumNames = "short" | "proto";

/**
 * Descriptors of the given files and all that they import, on which protobuf-es's own JSON mapping speaks one
 * spelling of enums: "short" writes short names and reads them, in capitals too, full names and numbers; "proto" is proto3
 * JSON as it stands. They are copies, so that the descriptors of the caller keep theirs; messages of both are
 * interchangeable.
 */
export class JsonDialect {
  readonly registry: FileRegistry;

  constructor(files: Iterable<DescFile>, enumNames: EnumNames) {
    const set = create(FileDescriptorSetSchema, { file: withImports(files).map((file) => file.proto) });
    this.registry = createFileRegistry(set);
    if (enumNames === "short") {
      for (const type of this.registry) if (type.kind === "enum") respell(type);
    }
  }

  /** The dialect's copy of a message's descriptor. */
  message(desc: DescMessage): DescMessage {
    const copy = this.registry.getMessage(desc.typeName);
    if (copy === undefined) throw new Error(`${desc.typeName} is in none of the files of this dialect`);
    return copy;
  }
}

function respell(desc: DescEnum): void {
  // NullValue is written as null, which is no name.
  if (desc.typeName === "google.protobuf.NullValue") return;
  const shortNames = shortEnumNames(desc);
  const taken = new Set([...shortNames].flatMap(([value, short]) => [value.name, short]));
  for (const [value, name] of shortNames) {
    // protobuf-es reads `jsonName` when it compiles an enum's codec, at its first use. These descriptors are
    // ours alone and nothing has used them yet, so that writing to the read-only property is safe.
    (value as { jsonName: string }).jsonName = name;
    // Read and never written: that codec reads every value's `name`, and writes the one that the number finds.
    const capitals = name.toUpperCase();
    if (!taken.has(capitals)) desc.values.push({ ...value, name: capitals });
  }
}

/** The files and their imports, each after what it imports, as a registry wants them. */
function withImports(files: Iterable<DescFile>): DescFile[] {
  const ordered = new Map<string, DescFile>();
  const visit = (file: DescFile): void => {
    if (ordered.has(file.proto.name)) return;
    for (const dependency of file.dependencies) visit(dependency);
    ordered.set(file.proto.name, file);
  };
  for (const file of files) visit(file);
  return [...ordered.values()];
}
