import type { DescField, DescMessage, JsonObject } from "@bufbuild/protobuf";
import type { Route } from "./compile-routes.ts";
import { isTextual, leafOf } from "./leaf-values.ts";
import type { SchemaComponents } from "./openapi-schema.ts";

/** A path as OpenAPI writes it, and the parameters in it, in order. */
export interface OpenApiPath {
  /** "/v1/agents/{agent}:reset" */
  text: string;
  /** The same with nothing in its braces: OpenAPI takes two paths of one shape for the same. */
  shape: string;
  parameters: JsonObject[];
}

/**
 * OpenAPI knows parameters of one segment only: a variable of several becomes one for each wildcard in it, and `**`
 * one whose description says that it may hold slashes.
 */
export function openApiPath(route: Route, components: SchemaComponents): OpenApiPath {
  const parameters: JsonObject[] = [];
  const segments = route.template.segments.map((segment, index) => {
    if (segment !== "*" && segment !== "**") return segment;
    const parameter = pathParameter(route, index, components);
    parameters.push(parameter);
    return `{${String(parameter.name)}}`;
  });
  const verb = route.template.verb === undefined ? "" : `:${route.template.verb}`;
  const text = `/${segments.join("/")}${verb}`;
  return { text, shape: text.replace(/\{[^}]*\}/g, "{}"), parameters };
}

function pathParameter(route: Route, index: number, components: SchemaComponents): JsonObject {
  const { template, pathFields } = route;
  const position = template.variables.findIndex(({ start, end }) => start <= index && index < end);
  const variable = template.variables[position];
  const field = pathFields[position]?.field;
  const many =
    template.segments[index] === "**" ? "May hold several segments, with the slashes between them." : "";
  const required = { in: "path", required: true, ...(many === "" ? {} : { "x-multi-segment": true }) };
  if (variable === undefined || field === undefined) {
    return { name: `segment${index}`, ...required, ...described(many), schema: { type: "string" } };
  }
  const { description, ...schema } = components.ofField(field);
  const own = typeof description === "string" ? description : "";
  const wildcards = template.segments
    .slice(variable.start, variable.end)
    .filter((text) => text.startsWith("*"));
  const isWhole = variable.segments.length === 1;
  const part = isWhole ? "" : `Part of ${variable.fieldPath} = ${variable.segments.join("/")}.`;
  const nth = template.segments
    .slice(variable.start, index + 1)
    .filter((text) => text.startsWith("*")).length;
  const name = wildcards.length === 1 ? variable.fieldPath : `${variable.fieldPath}${nth}`;
  return {
    name,
    ...required,
    ...described([own, part, many].filter(Boolean).join(" ")),
    schema: isWhole && many === "" ? schema : { type: "string" },
  };
}

function described(description: string): JsonObject {
  return description === "" ? {} : { description };
}

/** The parameters that a route's query takes: every field that neither the path nor the body carries. */
export function queryParameters(route: Route, components: SchemaComponents): JsonObject[] {
  if (route.body.kind === "whole") return [];
  const taken = new Set(route.template.variables.map(({ fieldPath }) => fieldPath));
  if (route.body.kind === "field") taken.add(route.body.field.name);
  return listFields(route.input, "", "", [], taken).map(({ name, field }) => {
    const { description, deprecated, ...schema } = components.ofField(field);
    return {
      name,
      in: "query",
      ...(description === undefined ? {} : { description }),
      ...(deprecated === undefined ? {} : { deprecated }),
      schema,
    };
  });
}

/** Fields below a message that text can give, by their dotted JSON names. */
function listFields(
  desc: DescMessage,
  jsonPath: string,
  protoPath: string,
  above: readonly DescMessage[],
  taken: ReadonlySet<string>,
): { name: string; field: DescField }[] {
  // A message that holds itself would go on for ever; its first level is told of.
  if (above.includes(desc)) return [];
  return desc.fields.flatMap((field) => {
    const name = `${jsonPath}${field.jsonName}`;
    const path = `${protoPath}${field.name}`;
    if (taken.has(path) || field.fieldKind === "map") return [];
    if (isTextual(leafOf(field))) return [{ name, field }];
    if (field.fieldKind !== "message") return [];
    return listFields(field.message, `${name}.`, `${path}.`, [...above, desc], taken);
  });
}
