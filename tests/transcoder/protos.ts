import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  createFileRegistry,
  type DescMessage,
  type DescService,
  type FileRegistry,
  fromBinary,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

const here = dirname(fileURLToPath(import.meta.url));
const googleApi = join(
  dirname(createRequire(import.meta.url).resolve("google-proto-files/package.json")),
  "google/api",
);
const buf = join(here, "../../node_modules/.bin/buf");

/**
 * Compiles proto files, given by name and text, to descriptors that no code was generated for: the transcoder
 * has to do with what it never saw. They may import google/api.
 */
export function compileProtos(files: Record<string, string>): FileRegistry {
  const folder = mkdtempSync(join(tmpdir(), "transcoder-protos-"));
  try {
    mkdirSync(join(folder, "google/api"), { recursive: true });
    for (const name of ["annotations.proto", "http.proto", "httpbody.proto"]) {
      cpSync(join(googleApi, name), join(folder, "google/api", name));
    }
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
    const bytes = execFileSync(buf, ["build", "--as-file-descriptor-set", "-o", "-#format=binpb"], {
      cwd: folder,
    });
    return createFileRegistry(fromBinary(FileDescriptorSetSchema, bytes));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The proto file beside this one, compiled. */
export const zoo: FileRegistry = compileProtos({
  "zoo.proto": readFileSync(join(here, "protos/zoo.proto"), "utf8"),
});

/** A message of the zoo by its short name. */
export function zooMessage(name: string): DescMessage {
  const desc = zoo.getMessage(`zoo.v1.${name}`);
  if (desc === undefined) throw new Error(`zoo.v1.${name} is not there`);
  return desc;
}

/** The service of the zoo. */
export const zooService: DescService = (() => {
  const service = zoo.getService("zoo.v1.ZooService");
  if (service === undefined) throw new Error("zoo.v1.ZooService is not there");
  return service;
})();

/**
 * A service whose RPCs have the given annotations, the first rule of each "METHOD template". All take and give
 * a message with the fields a to z (strings), n (int32), m (itself), and r (repeated strings).
 */
export function serviceOf(rpcs: Record<string, string>): DescService {
  const letters = [..."abcdefghijklopqstuvwxyz"].map((letter, index) => `string ${letter} = ${index + 10};`);
  const methods = Object.entries(rpcs).map(
    ([name, rule]) => `rpc ${name}(M) returns (M) { option (google.api.http) = { ${printRule(rule)} }; }`,
  );
  const text = `syntax = "proto3"; package t; import "google/api/annotations.proto";
    message M { int32 n = 1; M m = 2; repeated string r = 3; map<string, string> map = 4; ${letters.join(" ")} }
    service S { ${methods.join("\n")} }`;
  const service = compileProtos({ "t.proto": text }).getService("t.S");
  if (service === undefined) throw new Error("t.S is not there");
  return service;
}

function printRule(rule: string): string {
  const [method = "", template = "", ...rest] = rule.split(" ");
  const quoted = JSON.stringify(template);
  const pattern = /^(GET|PUT|POST|PATCH|DELETE)$/.test(method)
    ? `${method.toLowerCase()}: ${quoted}`
    : `custom: { kind: ${JSON.stringify(method)} path: ${quoted} }`;
  return `${pattern} ${rest.join(" ")}`;
}
