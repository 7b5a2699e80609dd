/**
 * Fills the ignored folder .protos with the protobuf files of others that ours import, out of npm packages, so that
 * neither a schema registry nor a copy in the repository is needed. buf.yaml names each folder as a module.
 */
import { cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { file_buf_validate_validate } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import { printProtoFile } from "./print-proto.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const target = join(root, ".protos");
const require = createRequire(import.meta.url);

const googleApi = ["annotations", "http", "httpbody"].map((name) => `google/api/${name}.proto`);
const googleRpc = ["status", "error_details", "code"].map((name) => `google/rpc/${name}.proto`);

function packageFolder(name: string, probe: string): string {
  return dirname(require.resolve(`${name}/${probe}`));
}

function place(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to);
}

rmSync(target, { recursive: true, force: true });
const google = packageFolder("google-proto-files", "package.json");
for (const file of [...googleApi, ...googleRpc]) place(join(google, file), join(target, "google", file));
const health = packageFolder("grpc-health-check", "package.json");
place(join(health, "proto/health/v1/health.proto"), join(target, "grpc/grpc/health/v1/health.proto"));
const reflection = packageFolder("@grpc/reflection", "package.json");
for (const version of ["v1", "v1alpha"]) {
  const file = `grpc/reflection/${version}/reflection.proto`;
  place(join(reflection, "build/proto", file), join(target, "grpc", file));
}
const validate = join(target, "validate/buf/validate/validate.proto");
mkdirSync(dirname(validate), { recursive: true });
writeFileSync(validate, printProtoFile(file_buf_validate_validate));
