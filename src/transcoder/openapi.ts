import {
  createRegistry,
  type DescMessage,
  type DescService,
  fromJson,
  type JsonObject,
  type JsonValue,
} from "@bufbuild/protobuf";
import { takesHttpBody } from "./bind-request.ts";
import { type BodyMapping, isClientStream, type Route } from "./compile-routes.ts";
import { givesHttpBody, messageJson } from "./encode-response.ts";
import { ERROR_RESPONSE, ERROR_SCHEMAS } from "./openapi-errors.ts";
import { openApiPath, queryParameters } from "./openapi-parameters.ts";
import { type ConstrainField, type FindComment, SchemaComponents } from "./openapi-schema.ts";

/** What an OpenAPI description says besides what the routes say themselves. */
export interface OpenApiOptions {
  title: string;
  version: string;
  description?: string;
  /** Where the API is; relative URLs are taken from where the description is. "/" by default. */
  servers?: { url: string; description?: string }[];
  /** What a caller proves who it is with: a bearer token on every call. No security by default. */
  bearer?: { description: string };
  /** Comments of services, methods, messages, fields, enums and values. None by default. */
  comment?: FindComment;
  /** What the rules of a request's field add to its schema. Nothing by default. */
  constrain?: ConstrainField;
  /** Examples for the first binding of an RPC, by "pkg.Service/Method". None by default. */
  examples?: Readonly<Record<string, OpenApiExample>>;
}

/** One example, in the JSON that goes over the wire; an answer may leave out what has no value. */
export interface OpenApiExample {
  request?: JsonObject;
  answer?: JsonObject;
}

/** Describes compiled routes as OpenAPI 3.1, a JSON object. Enum values are spelled as the routes' transcoder does. */
export function describeRoutes(routes: readonly Route[], options: OpenApiOptions): JsonObject {
  return new Description(routes, options).build();
}

class Description {
  readonly #routes: readonly Route[];
  readonly #options: OpenApiOptions;
  readonly #components: SchemaComponents;
  readonly #operationIds = new Set<string>();

  constructor(routes: readonly Route[], options: OpenApiOptions) {
    this.#routes = routes.filter(({ httpMethod }) => OPENAPI_METHODS.has(httpMethod));
    this.#options = options;
    this.#components = new SchemaComponents(
      this.#routes.map(({ input }) => input),
      this.#routes.map(({ output }) => output),
      options.comment ?? (() => undefined),
      options.constrain ?? (() => ({})),
    );
  }

  build(): JsonObject {
    const { title, version, description, servers, bearer } = this.#options;
    const paths = this.#paths();
    return {
      openapi: "3.1.0",
      info: { title, version, ...(description === undefined ? {} : { description }) },
      servers: (servers ?? [{ url: "/" }]).map((server) => ({ ...server })),
      tags: this.#tags(),
      paths,
      components: {
        schemas: { ...sorted(this.#components.schemas), ...ERROR_SCHEMAS },
        responses: { Error: ERROR_RESPONSE },
        ...(bearer && { securitySchemes: { bearer: { type: "http", scheme: "bearer", ...bearer } } }),
      },
      ...(bearer && { security: [{ bearer: [] }] }),
    };
  }

  #paths(): JsonObject {
    const byShape = new Map<string, { text: string; item: JsonObject }>();
    for (const route of this.#routes) {
      const path = openApiPath(route, this.#components);
      // Paths of one shape are one path, whose parameters have the names that came first.
      const entry = byShape.get(path.shape) ?? { text: path.text, item: {} };
      byShape.set(path.shape, entry);
      const names = [...entry.text.matchAll(/\{([^}]*)\}/g)].map(([, name = ""]) => name);
      const parameters = path.parameters.map((parameter, index) => ({
        ...parameter,
        name: names[index] ?? String(parameter.name),
      }));
      entry.item[route.httpMethod.toLowerCase()] = this.#operation(route, parameters);
    }
    return Object.fromEntries([...byShape.values()].map(({ text, item }) => [text, item]));
  }

  #operation(route: Route, pathParameters: JsonObject[]): JsonObject {
    const { method } = route.spec;
    const comment = this.#options.comment?.(`${method.parent.typeName}.${method.name}`);
    const parameters = [...pathParameters, ...queryParameters(route, this.#components)];
    const requestBody = this.#requestBody(route);
    return {
      operationId: this.#operationId(`${method.parent.name}_${method.name}`),
      tags: [method.parent.name],
      ...(comment === undefined ? {} : { summary: firstSentence(comment), description: comment }),
      ...(method.deprecated ? { deprecated: true } : {}),
      ...(parameters.length === 0 ? {} : { parameters }),
      ...(requestBody === undefined ? {} : { requestBody }),
      responses: { "200": this.#answer(route), default: { $ref: "#/components/responses/Error" } },
    };
  }

  /** One RPC can have several operations, whose ids must differ. */
  #operationId(wanted: string): string {
    let id = wanted;
    for (let count = 2; this.#operationIds.has(id); count++) id = `${wanted}_${count}`;
    this.#operationIds.add(id);
    return id;
  }

  #requestBody(route: Route): JsonObject | undefined {
    if (route.body.kind === "none") return undefined;
    if (takesHttpBody(route)) return { content: { "*/*": {} } };
    const inPath = route.pathFields.filter(({ parents }) => parents.length === 0).map(({ field }) => field);
    const schema =
      route.body.kind === "whole"
        ? this.#components.ofMessageWithout(route.input, inPath)
        : this.#components.ofField(route.body.field);
    const example = this.#example(route, "request");
    const media = { schema, ...(example === undefined ? {} : { example }) };
    if (!isClientStream(route.spec.method)) return { content: { "application/json": media } };
    return { description: "One message a line.", content: { "application/x-ndjson": media } };
  }

  /** A request as it was given, an answer as it would be printed: with every field that has a value of its own. */
  #example(route: Route, part: "request" | "answer"): JsonValue | undefined {
    const example = this.#options.examples?.[route.rpc]?.[part];
    // Additional bindings may map the same messages otherwise.
    const isFirst = this.#routes.find(({ rpc }) => rpc === route.rpc) === route;
    if (example === undefined || !isFirst) return undefined;
    const [desc, mapping] =
      part === "request" ? [route.input, route.body] : [route.output, route.responseBody];
    try {
      const message = fromJson(
        desc,
        mapping.kind === "field" ? { [mapping.field.jsonName]: example } : example,
      );
      return part === "request" ? example : messageJson(route, EMPTY_REGISTRY, message);
    } catch (error) {
      throw new Error(`${route.rpc}: its example of a ${part} is none`, { cause: error });
    }
  }

  #answer(route: Route): JsonObject {
    if (givesHttpBody(route)) return { description: "Content of any type.", content: { "*/*": {} } };
    const schema = this.#mapped(route.output, route.responseBody);
    const example = this.#example(route, "answer");
    const media = { schema, ...(example === undefined ? {} : { example }) };
    if (!isServerStream(route)) return { description: "OK", content: { "application/json": media } };
    const frame = { anyOf: [schema, { $ref: "#/components/schemas/Error" }] };
    return {
      description: "A stream; an error after its begin is its last message.",
      content: {
        "application/x-ndjson": { schema: frame, ...(example === undefined ? {} : { example }) },
        "text/event-stream": { schema: { type: "string" } },
        "application/json": { schema: { type: "array", items: frame } },
      },
    };
  }

  #mapped(desc: DescMessage, body: BodyMapping): JsonObject {
    if (body.kind !== "field") return this.#components.ofMessage(desc);
    const schema = this.#components.ofField(body.field);
    // What is not set is null, but for messages that are objects, which are empty then.
    const isOptional = body.field.fieldKind === "message" || body.field.oneof !== undefined;
    return isOptional && schema.$ref === undefined ? { anyOf: [schema, { type: "null" }] } : schema;
  }

  #tags(): JsonObject[] {
    const services = new Set<DescService>(this.#routes.map(({ spec }) => spec.method.parent));
    return [...services].map(({ name, typeName }) => {
      const description = this.#options.comment?.(typeName);
      return { name, ...(description === undefined ? {} : { description }) };
    });
  }
}

const EMPTY_REGISTRY = createRegistry();

const OPENAPI_METHODS = new Set(["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"]);

function isServerStream({ spec }: Route): boolean {
  return spec.kind === "server_streaming" || spec.kind === "bidi_streaming";
}

function firstSentence(text: string): string {
  return (/^.*?[.!?](?=\s+\p{Lu}|\s*$)/su.exec(text)?.[0] ?? text).replace(/[.;:]$/, "");
}

function sorted(schemas: Record<string, JsonObject>): JsonObject {
  return Object.fromEntries(Object.entries(schemas).sort(([a], [b]) => (a < b ? -1 : 1)));
}
