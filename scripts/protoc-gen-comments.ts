/**
 * A plugin of buf: writes the comments of the protobuf files of one package (its option, `package=NAME`) into
 * comments.js, by the full names of what they stand above. Descriptors in generated code carry none, and the OpenAPI
 * description shows them.
 */
import { readFileSync, writeSync } from "node:fs";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  CodeGeneratorRequestSchema,
  CodeGeneratorResponse_Feature,
  CodeGeneratorResponseSchema,
  type DescriptorProto,
  type EnumDescriptorProto,
  type FileDescriptorProto,
} from "@bufbuild/protobuf/wkt";

type Named = { name: string };

/** The lists below a file, message, enum or service that a location's path goes through, by field number. */
function fileLists(file: FileDescriptorProto): Record<number, Named[]> {
  return { 4: file.messageType, 5: file.enumType, 6: file.service };
}

function innerLists(element: Named): Record<number, Named[]> {
  if ("nestedType" in element) {
    const message = element as DescriptorProto;
    return { 2: message.field, 3: message.nestedType, 4: message.enumType };
  }
  if ("value" in element) return { 2: (element as EnumDescriptorProto).value };
  return "method" in element ? { 2: (element as Named & { method: Named[] }).method } : {};
}

/** The full name of what a path leads to; undefined for parts that have no name of their own, such as options. */
function nameAt(file: FileDescriptorProto, path: number[]): string | undefined {
  const names = [file.package];
  let lists = fileLists(file);
  for (let step = 0; step < path.length; step += 2) {
    const element = lists[path[step] ?? 0]?.[path[step + 1] ?? -1];
    if (element === undefined) return undefined;
    names.push(element.name);
    lists = innerLists(element);
  }
  return path.length === 0 ? undefined : names.join(".");
}

function commentsOf(file: FileDescriptorProto): [string, string][] {
  return (file.sourceCodeInfo?.location ?? []).flatMap(({ path, leadingComments }): [string, string][] => {
    const name = nameAt(file, path);
    const lines = leadingComments.split("\n").map((line) => line.trim());
    const text = lines
      .filter((line) => !line.startsWith("buf:"))
      .join("\n")
      .trim();
    return name === undefined || text === "" ? [] : [[name, text]];
  });
}

const request = fromBinary(CodeGeneratorRequestSchema, readFileSync(0));
const wanted = /^package=([\w.]+)$/.exec(request.parameter)?.[1];
const files = request.protoFile.filter((file) => file.package === wanted);
const sorted = files.flatMap(commentsOf).sort(([a], [b]) => (a < b ? -1 : 1));
const notice = "// Generated from the comments of the protobuf files. Do not edit.\n";
const content = `${notice}export const comments = ${JSON.stringify(Object.fromEntries(sorted), null, 2)};\n`;
const types = `${notice}/** Comments by the full names of what they stand above. */\nexport declare const comments: Readonly<Record<string, string>>;\n`;
const response = create(CodeGeneratorResponseSchema, {
  supportedFeatures: BigInt(CodeGeneratorResponse_Feature.PROTO3_OPTIONAL),
  file: [
    { name: "comments.js", content },
    { name: "comments.d.ts", content: types },
  ],
});
writeSync(1, toBinary(CodeGeneratorResponseSchema, response));
