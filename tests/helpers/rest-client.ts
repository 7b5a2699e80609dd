import { Agent, request as httpRequest } from "node:http";
import {
  create,
  type DescField,
  type DescMessage,
  type DescMethodUnary,
  fromJson,
  getOption,
  type JsonObject,
  type JsonValue,
  type MessageInitShape,
  toJson,
} from "@bufbuild/protobuf";
import { type Code, ConnectError } from "@connectrpc/connect";
import { http } from "../../gen/google/api/annotations_pb.js";
import { Code as RpcCode } from "../../gen/google/rpc/code_pb.js";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.js";
import { type CallOptions, type DoorClient, failureOf, headersOf, type Outcome } from "./door-client.ts";
import { OpenApiCheck } from "./openapi-check.ts";

/** A request as it goes over the wire: the target is not touched. */
export interface HttpRequest {
  method: string;
  target: string;
  headers?: Record<string, string | string[]>;
  body?: string | Uint8Array;
}

export interface HttpAnswer {
  status: number;
  headers: Headers;
  text: string;
}

/**
 * Sends HTTP/1.1 as given: no rewriting of paths, no following, no decompression. Throws where a REST answer is not as
 * the server's own description of its API says.
 */
export async function sendHttp(baseUrl: string, request: HttpRequest, agent?: Agent): Promise<HttpAnswer> {
  const check = await checkOf(baseUrl);
  const answer = await send(baseUrl, request, agent);
  if (request.target.startsWith("/api/") && !answer.headers.has("content-encoding")) {
    const contentType = answer.headers.get("content-type") ?? undefined;
    check.expectDescribed(request, { status: answer.status, contentType, text: answer.text });
  }
  return answer;
}

const checks = new Map<string, Promise<OpenApiCheck>>();

/** Asked for once a server. */
function checkOf(baseUrl: string): Promise<OpenApiCheck> {
  const check = checks.get(baseUrl) ?? readDescription(baseUrl);
  checks.set(baseUrl, check);
  check.catch(() => checks.delete(baseUrl));
  return check;
}

async function readDescription(baseUrl: string): Promise<OpenApiCheck> {
  const { text } = await send(baseUrl, { method: "GET", target: "/openapi.json" });
  return new OpenApiCheck(JSON.parse(text));
}

function send(baseUrl: string, request: HttpRequest, agent?: Agent): Promise<HttpAnswer> {
  const { hostname, port } = new URL(baseUrl);
  const { method, target, body } = request;
  // Node frames no body of a GET or DELETE by itself, and what follows its head would be read as the next request.
  const length = body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) };
  const headers = { ...length, ...request.headers };
  return new Promise((resolve, reject) => {
    const options = { hostname, port, method, path: target, headers, ...(agent !== undefined && { agent }) };
    const outgoing = httpRequest(options, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
      incoming.on("error", reject);
      incoming.on("end", () => {
        const answered = new Headers();
        for (const [name, values = []] of Object.entries(incoming.headersDistinct)) {
          for (const value of values) answered.append(name, value);
        }
        resolve({
          status: incoming.statusCode ?? 0,
          headers: answered,
          text: Buffer.concat(chunks).toString(),
        });
      });
    });
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

/** A client of the REST door that reads how to call an RPC from its google.api.http annotation. */
export function createRestClient(baseUrl: string): DoorClient {
  const agent = new Agent({ keepAlive: true });
  const send = async <O extends DescMessage>(
    method: DescMethodUnary<DescMessage, O>,
    request: HttpRequest,
    options: CallOptions,
  ): Promise<Outcome<O>> => {
    const headers = { ...request.headers, ...headersOf(options) };
    const answer = await sendHttp(baseUrl, { ...request, headers }, agent);
    return answer.status === 200
      ? { ok: true, message: decodeAnswer(method, answer) }
      : failureOfAnswer(answer);
  };
  return {
    carries: "json",
    call: (method, request, options = {}) => send(method, httpRequestOf(method, request), options),
    callRaw: (method, { json }, options = {}) => {
      const rule = ruleOf(method);
      if (rule.body !== "*") throw new Error(`${method.name} has no body that is its whole request`);
      return send(
        method,
        { method: rule.verb, target: rule.template, headers: JSON_BODY, body: json },
        options,
      );
    },
    close: async () => agent.destroy(),
  };
}

const JSON_BODY = { "content-type": "application/json" };

interface Rule {
  verb: string;
  template: string;
  body: string;
  responseBody: string;
}

function ruleOf(method: DescMethodUnary): Rule {
  const { pattern, body, responseBody } = getOption(method, http);
  if (pattern.case === undefined || pattern.case === "custom")
    throw new Error(`${method.name} has no plain HTTP rule`);
  return { verb: pattern.case.toUpperCase(), template: pattern.value, body, responseBody };
}

/** The HTTP request that a method's annotation makes of a message. */
export function httpRequestOf<I extends DescMessage>(
  method: DescMethodUnary<I>,
  init: MessageInitShape<I>,
): HttpRequest {
  const { verb, template, body } = ruleOf(method);
  const json = shortEnums(method.input, toJson(method.input, create(method.input, init)));
  if (!isObject(json)) throw new Error(`${method.input.typeName} has a JSON form of its own`);
  const rest = { ...json };
  const take = (name: string): JsonValue | undefined => {
    const key = method.input.fields.find((field) => field.name === name)?.jsonName ?? name;
    const value = rest[key];
    delete rest[key];
    return value;
  };
  const path = template.replace(/\{(\w+)\}/g, (_, name: string) =>
    encodeURIComponent(String(take(name) ?? "")),
  );
  if (body === "*") return { method: verb, target: path, headers: JSON_BODY, body: JSON.stringify(rest) };
  const raw = body === "" ? undefined : take(body);
  if (raw !== undefined) return { method: verb, target: path, ...rawBody(raw) };
  const query = new URLSearchParams(queryOf(rest, ""));
  return { method: verb, target: query.size === 0 ? path : `${path}?${query}` };
}

/** What a google.api.HttpBody stands for. */
function rawBody(json: JsonValue): Pick<HttpRequest, "headers" | "body"> {
  const { contentType = "", data = "" } = isObject(json) ? json : {};
  const body = Buffer.from(String(data), "base64").toString();
  return { headers: { "content-type": String(contentType) }, body };
}

function queryOf(json: JsonValue, path: string): [string, string][] {
  if (Array.isArray(json)) return json.flatMap((item) => queryOf(item, path));
  if (!isObject(json)) return [[path, String(json)]];
  return Object.entries(json).flatMap(([key, value]) => queryOf(value, path === "" ? key : `${path}.${key}`));
}

function decodeAnswer<O extends DescMessage>(method: DescMethodUnary<DescMessage, O>, answer: HttpAnswer) {
  const type = answer.headers.get("content-type");
  if (type !== "application/json") throw new Error(`the answer is ${type}`);
  const body: JsonValue = JSON.parse(answer.text);
  const { responseBody } = ruleOf(method);
  const field = method.output.fields.find(({ name }) => name === responseBody);
  return fromJson(
    method.output,
    fullEnums(method.output, field === undefined ? body : { [field.jsonName]: body }),
  );
}

const detailSchemas = new Map<string, DescMessage>(
  [BadRequestSchema, ErrorInfoSchema, RetryInfoSchema].map((schema) => [
    `type.googleapis.com/${schema.typeName}`,
    schema,
  ]),
);

/** Reads the error body of the REST dialect; throws where it is none. */
export function failureOfAnswer({ status, headers, text }: HttpAnswer) {
  const body: { error: { code: number; status: string; message: string; details: JsonObject[] } } =
    JSON.parse(text);
  const { code, status: name, message, details } = body.error;
  if (code !== status) throw new Error(`the body says ${code} where the status is ${status}`);
  const number: number | undefined = Object.entries(RpcCode).find(([key]) => key === name)?.[1] as
    | number
    | undefined;
  if (number === undefined) throw new Error(`${name} is no code`);
  const outgoing = details.map((detail) => {
    const { "@type": type, ...json } = detail;
    const desc = detailSchemas.get(String(type));
    if (desc === undefined) throw new Error(`unknown detail ${String(type)}`);
    return { desc, value: fromJson(desc, json) };
  });
  const error = new ConnectError(message, number as Code, headers);
  error.details = outgoing.map(({ desc, value }) => ({ desc, value }));
  return failureOf(error, status);
}

function isObject(json: JsonValue): json is JsonObject {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}

/** Full enum names as the REST dialect spells them: AGENT_STATUS_ONLINE is "online". */
function shortEnums(desc: DescMessage, json: JsonValue): JsonValue {
  return mapEnums(desc, json, (prefix, name) => name.slice(prefix.length).toLowerCase());
}

/** The other way round; throws where the answer spells a name otherwise than short and in lower case. */
function fullEnums(desc: DescMessage, json: JsonValue): JsonValue {
  return mapEnums(desc, json, (prefix, name) => {
    if (name !== name.toLowerCase() || name.toUpperCase().startsWith(prefix))
      throw new Error(`${name} is not short`);
    return prefix + name.toUpperCase();
  });
}

function mapEnums(
  desc: DescMessage,
  json: JsonValue,
  map: (prefix: string, name: string) => string,
): JsonValue {
  // What has a JSON form of its own holds no enums of ours.
  if (desc.typeName.startsWith("google.protobuf.") || !isObject(json)) return json;
  const one = (field: DescField, value: JsonValue): JsonValue => {
    if (field.enum !== undefined && typeof value === "string") {
      return map((field.enum.sharedPrefix ?? "").toUpperCase(), value);
    }
    return field.message === undefined ? value : mapEnums(field.message, value, map);
  };
  return Object.fromEntries(
    Object.entries(json).map(([key, value]): [string, JsonValue] => {
      const field = desc.fields.find(({ jsonName }) => jsonName === key);
      if (field === undefined) return [key, value];
      if (field.fieldKind === "list" && Array.isArray(value))
        return [key, value.map((item) => one(field, item))];
      return [key, field.fieldKind === "map" ? value : one(field, value)];
    }),
  );
}
