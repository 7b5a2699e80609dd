import { type DescExtension, type DescFile, type DescService, toBinary } from "@bufbuild/protobuf";
import { nestedTypes } from "@bufbuild/protobuf/reflect";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";

/** A file of descriptors as it is imported by others: its path, and itself as a serialized FileDescriptorProto. */
export interface NamedFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

type NestedType = ReturnType<typeof nestedTypes> extends Iterable<infer T> ? T : never;

/** The descriptors of services, and of all that they are made of, by file, symbol and extension. */
export class DescriptorIndex {
  /** Full names of the services, in order. */
  readonly services: readonly string[];
  readonly #files = new Map<string, { file: NamedFile; imports: readonly DescFile[] }>();
  readonly #symbols = new Map<string, DescFile>();
  readonly #extensions = new Map<string, Map<number, DescFile>>();

  constructor(services: readonly DescService[]) {
    this.services = services.map(({ typeName }) => typeName).sort();
    for (const file of filesOf(services)) {
      const { name } = file.proto;
      const bytes = toBinary(FileDescriptorProtoSchema, file.proto);
      this.#files.set(name, { file: { name, bytes }, imports: file.dependencies });
      for (const type of nestedTypes(file)) this.#addType(type);
    }
  }

  /** A file by its path, such as `drover/v1/agent.proto`. */
  file(name: string): NamedFile | undefined {
    return this.#files.get(name)?.file;
  }

  /** The file that declares a symbol: a type, a service, a method, a field, an extension or an enum's value. */
  fileOfSymbol(symbol: string): NamedFile | undefined {
    const file = this.#symbols.get(symbol);
    return file && this.file(file.proto.name);
  }

  /** The file that declares one extension of a message. */
  fileOfExtension(message: string, number: number): NamedFile | undefined {
    const file = this.#extensions.get(message)?.get(number);
    return file && this.file(file.proto.name);
  }

  /** Numbers of a message's extensions; undefined for a message that is not known. */
  extensionNumbers(message: string): number[] | undefined {
    if (!this.#symbols.has(message)) return undefined;
    return [...(this.#extensions.get(message)?.keys() ?? [])].sort((a, b) => a - b);
  }

  /** All that a file imports, directly and through others; each once. */
  importsOf({ name }: NamedFile): NamedFile[] {
    const found = new Map<string, NamedFile>();
    const visit = (path: string): void => {
      for (const { proto } of this.#files.get(path)?.imports ?? []) {
        const file = this.file(proto.name);
        if (file === undefined || found.has(proto.name)) continue;
        found.set(proto.name, file);
        visit(proto.name);
      }
    };
    visit(name);
    return [...found.values()];
  }

  #addType(type: NestedType): void {
    this.#symbols.set(type.typeName, type.file);
    switch (type.kind) {
      case "message":
        for (const { proto } of [...type.fields, ...type.oneofs]) {
          this.#symbols.set(`${type.typeName}.${proto.name}`, type.file);
        }
        return;
      case "enum":
        // A value is a sibling of its enum, not a child of it.
        for (const { name } of type.values) this.#symbols.set(siblingOf(type.typeName, name), type.file);
        return;
      case "service":
        for (const { name } of type.methods) this.#symbols.set(`${type.typeName}.${name}`, type.file);
        return;
      case "extension":
        this.#addExtension(type);
    }
  }

  #addExtension({ extendee, number, file }: DescExtension): void {
    const numbers = this.#extensions.get(extendee.typeName) ?? new Map<number, DescFile>();
    numbers.set(number, file);
    this.#extensions.set(extendee.typeName, numbers);
  }
}

/** The files of the services and all that these import. */
function filesOf(services: readonly DescService[]): Set<DescFile> {
  const files = new Set<DescFile>();
  const add = (file: DescFile): void => {
    if (files.has(file)) return;
    files.add(file);
    for (const dependency of file.dependencies) add(dependency);
  };
  for (const { file } of services) add(file);
  return files;
}

function siblingOf(typeName: string, name: string): string {
  const dot = typeName.lastIndexOf(".");
  return dot === -1 ? name : `${typeName.slice(0, dot)}.${name}`;
}
