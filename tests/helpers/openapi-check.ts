import type { JsonObject } from "@bufbuild/protobuf";
import { Ajv2020, type AnySchemaObject } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

/** A request as it was sent; the target with its query. */
export interface SentRequest {
  method: string;
  target: string;
}

/** An answer as it came, decompressed. */
export interface GotAnswer {
  status: number;
  contentType: string | undefined;
  text: string;
}

interface Operation {
  /** Method and path as the description has them. */
  pointer: string;
  method: string;
  pattern: RegExp;
  /** How many characters of the path are not parameters: the more, the closer it fits. */
  literal: number;
}

/** Tells whether answers are as an OpenAPI description says they are, by a validator of JSON Schema. */
export class OpenApiCheck {
  readonly #ajv = new Ajv2020({ strict: false, allErrors: true, allowUnionTypes: true });
  readonly #description: JsonObject;
  readonly #operations: Operation[];

  constructor(description: JsonObject) {
    this.#description = description;
    // The package's default export is the function, wherever its types put it.
    (addFormats as unknown as (ajv: Ajv2020) => void)(this.#ajv);
    for (const format of ["int32", "int64", "uint32", "uint64", "double", "float"])
      this.#ajv.addFormat(format, true);
    this.#ajv.addSchema(description as AnySchemaObject, "api");
    this.#operations = listOperations(description);
  }

  /** Everything about an answer that the description does not say; empty where it is as described. */
  differences(request: SentRequest, answer: GotAnswer): string[] {
    if (request.method === "HEAD" || request.method === "OPTIONS") return [];
    const operation = this.#find(request);
    if (operation === undefined && answer.status < 400) {
      return [`${request.method} ${request.target} answers ${answer.status} and is not described`];
    }
    const schemas = this.#mediaTypes(operation, answer.status);
    const type = answer.contentType?.split(";")[0]?.trim().toLowerCase() ?? "";
    const schema = schemas[type] ?? schemas["*/*"];
    const where = `${request.method} ${request.target} (${answer.status})`;
    if (schema === undefined) return [`${where}: ${type || "no content type"} is not described`];
    if (type === "text/event-stream" || schemas[type] === undefined) return [];
    const documents =
      type === "application/x-ndjson" ? answer.text.split("\n").filter(Boolean) : [answer.text];
    return documents.flatMap((text) =>
      this.#violations(schema, text).map((violation) => `${where}: ${violation}`),
    );
  }

  /** The same, as an error. */
  expectDescribed(request: SentRequest, answer: GotAnswer): void {
    const differences = this.differences(request, answer);
    if (differences.length > 0)
      throw new Error(`not as described:\n${differences.join("\n")}\n${answer.text}`);
  }

  /** What is wrong with JSON against the schema at a pointer into the description. */
  #violations(pointer: string, text: string): string[] {
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch {
      return [`is no JSON: ${text.slice(0, 100)}`];
    }
    const validate = this.#ajv.getSchema(pointer);
    if (validate === undefined) throw new Error(`there is no schema at ${pointer}`);
    if (validate(json)) return [];
    return (validate.errors ?? []).map(({ instancePath, message, params }) => {
      return `${instancePath || "/"} ${message} ${JSON.stringify(params)}`;
    });
  }

  #find({ method, target }: SentRequest): Operation | undefined {
    const path = target.split("?")[0] ?? "";
    return this.#operations
      .filter((operation) => operation.method === method && operation.pattern.test(path))
      .sort((a, b) => b.literal - a.literal)[0];
  }

  /** Pointers to the schemas of an answer, by media type. */
  #mediaTypes(operation: Operation | undefined, status: number): Record<string, string> {
    if (operation === undefined || status !== 200) {
      return { "application/json": "api#/components/responses/Error/content/application~1json/schema" };
    }
    const base = `${operation.pointer}/responses/200/content`;
    const content = this.#at(base);
    return Object.fromEntries(
      Object.keys(content).map((type) => [type, `api#/${base}/${pointerStep(type)}/schema`]),
    );
  }

  #at(pointer: string): JsonObject {
    return pointer.split("/").reduce((json: JsonObject, step) => {
      const name = decodeURIComponent(step).replaceAll("~1", "/").replaceAll("~0", "~");
      // What stands in between is always an object here.
      return json[name] as JsonObject;
    }, this.#description);
  }
}

function listOperations(description: JsonObject): Operation[] {
  // The description is OpenAPI, which its own tests make sure of.
  const paths = description.paths as Record<string, Record<string, { parameters?: JsonObject[] }>>;
  return Object.entries(paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, { parameters = [] }]) => ({
      pointer: `paths/${pointerStep(path)}/${method}`,
      method: method.toUpperCase(),
      pattern: patternOf(path, parameters),
      literal: path.replace(/\{[^}]*\}/g, "").length,
    })),
  );
}

function patternOf(path: string, parameters: JsonObject[]): RegExp {
  const source = path.replace(/\/\{([^}]*)\}|[.*+?^${}()|[\]\\]/g, (text, name?: string) => {
    if (name === undefined) return `\\${text}`;
    const parameter = parameters.find((one) => one.in === "path" && one.name === name);
    return parameter?.["x-multi-segment"] === true ? "(/.*)?" : "/[^/]+";
  });
  return new RegExp(`^${source}$`);
}

/** A name as a step of a JSON pointer in a URL's fragment. */
function pointerStep(name: string): string {
  return encodeURIComponent(name.replaceAll("~", "~0").replaceAll("/", "~1"));
}
