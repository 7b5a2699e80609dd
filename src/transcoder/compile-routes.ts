import type { DescField, DescMessage, DescMethod, DescService } from "@bufbuild/protobuf";
import type { MethodImplSpec } from "@connectrpc/connect";
import { createServiceImplSpec, type ServiceImpl } from "@connectrpc/connect";
import { type FieldPath, protoPath, resolveFieldPath } from "./field-path.ts";
import { type HttpBinding, readHttpBindings } from "./http-rule.ts";
import type { JsonDialect } from "./json-dialect.ts";
import { hasOwnJsonForm } from "./leaf-values.ts";
import { type PathTemplate, parsePathTemplate } from "./path-template.ts";

/** A service with the implementation that answers it; methods left out answer UNIMPLEMENTED. */
export interface ServiceEntry<Service extends DescService = DescService> {
  service: Service;
  implementation: Partial<ServiceImpl<Service>>;
}

/** Where a message meets a body: the whole of it, one field, or not at all. */
export type BodyMapping = { kind: "none" } | { kind: "whole" } | { kind: "field"; field: DescField };

/** One way to call one RPC over HTTP, compiled. Descriptors are the dialect's. */
export interface Route {
  /** "pkg.Service/Method" */
  rpc: string;
  httpMethod: string;
  template: PathTemplate;
  templateText: string;
  spec: MethodImplSpec;
  input: DescMessage;
  output: DescMessage;
  /** In the order of the template's variables. */
  pathFields: FieldPath[];
  body: BodyMapping;
  responseBody: BodyMapping;
}

/** Compiles every binding of every RPC. Throws an Error that names the RPC for the first that cannot work. */
export function compileRoutes(services: readonly ServiceEntry[], dialect: JsonDialect): Route[] {
  return services.flatMap(({ service, implementation }) => {
    const spec = createServiceImplSpec(service, implementation);
    return service.methods.flatMap((method) =>
      compileMethod(method, spec.methods[method.localName], dialect),
    );
  });
}

/** "pkg.Service/Method" */
export function rpcName(method: DescMethod): string {
  return `${method.parent.typeName}/${method.name}`;
}

function compileMethod(method: DescMethod, spec: MethodImplSpec | undefined, dialect: JsonDialect): Route[] {
  if (spec === undefined) throw new Error(`${rpcName(method)} has no implementation`);
  try {
    return readHttpBindings(method).map((binding) => compileBinding(method, binding, spec, dialect));
  } catch (error) {
    throw new Error(`${rpcName(method)}: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}

function compileBinding(
  method: DescMethod,
  binding: HttpBinding,
  spec: MethodImplSpec,
  dialect: JsonDialect,
): Route {
  const input = dialect.message(method.input);
  const output = dialect.message(method.output);
  const template = parsePathTemplate(binding.template);
  const pathFields = template.variables.map(({ fieldPath }) => resolveVariable(input, fieldPath));
  const body = resolveBody(input, binding.body, "body");
  if (isClientStream(method) && body.kind === "none") throw new Error("a client stream needs a body");
  if (
    body.kind === "field" &&
    pathFields.some(({ parents, field }) => !parents.length && field === body.field)
  ) {
    throw new Error(`the field ${binding.body} is bound twice, by the path and as the body`);
  }
  return {
    rpc: rpcName(method),
    httpMethod: binding.httpMethod,
    template,
    templateText: binding.template,
    spec,
    input,
    output,
    pathFields,
    body,
    responseBody: resolveBody(output, binding.responseBody || "*", "response_body"),
  };
}

/** Whether a caller may send several messages. */
export function isClientStream(method: DescMethod): boolean {
  return method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming";
}

function resolveVariable(input: DescMessage, fieldPath: string): FieldPath {
  const path = resolveFieldPath(input, fieldPath);
  if (typeof path === "string") throw new Error(`path variable ${fieldPath}: ${path}`);
  if (protoPath(path) !== fieldPath)
    throw new Error(`path variable ${fieldPath} must be spelled ${protoPath(path)}`);
  const { fieldKind } = path.field;
  if (fieldKind !== "scalar" && fieldKind !== "enum") {
    throw new Error(`path variable ${fieldPath} is ${fieldKind === "message" ? "a message" : "repeated"}`);
  }
  const holder = [input, ...path.parents.map((parent) => parent.message)].find(
    (message) => message !== undefined && hasOwnJsonForm(message),
  );
  if (holder !== undefined) throw new Error(`path variable ${fieldPath} is inside ${holder.typeName}`);
  return path;
}

function resolveBody(desc: DescMessage, body: string, what: string): BodyMapping {
  if (body === "") return { kind: "none" };
  if (body === "*") return { kind: "whole" };
  const field = desc.fields.find(({ name }) => name === body);
  if (field === undefined) throw new Error(`${what}: ${desc.typeName} has no field ${JSON.stringify(body)}`);
  return { kind: "field", field };
}
