import type { IncomingMessage, ServerResponse } from "node:http";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import {
  create,
  type DescField,
  type JsonValue,
  type JsonWriteOptions,
  type Message,
  type Registry,
  toJson,
} from "@bufbuild/protobuf";
import type { HttpBody } from "../../gen/google/api/httpbody_pb.js";
import { HttpBodySchema } from "../../gen/google/api/httpbody_pb.js";
import { FrozenCache } from "../runtime/frozen-cache.ts";
import { isHttpBody } from "./bind-request.ts";
import { isGone } from "./call-context.ts";
import type { Route } from "./compile-routes.ts";
import { hasOwnJsonForm } from "./leaf-values.ts";
import { chooseAlternative } from "./quality-list.ts";

/** A whole response body and its content type; JSON stays a string, which Node writes together with the headers. */
export interface Payload {
  contentType: string;
  body: Buffer | string;
}

/** A body smaller than this gains nothing from compression: it fits one packet as it is. */
const MIN_COMPRESSED_BYTES = 1024;

// Brotli's default quality is meant for files compressed once; this one costs about what gzip costs.
const BROTLI_OPTIONS = { params: { [constants.BROTLI_PARAM_QUALITY]: 4 } };
const compressBrotli = promisify(brotliCompress);
const compress = {
  gzip: promisify(gzip),
  br: (body: Buffer | string) => compressBrotli(body, BROTLI_OPTIONS),
};

/** Turns the message that an RPC answered into what HTTP carries of it, by the route's response_body. */
export function encodeMessage(route: Route, registry: Registry, message: Message): Payload {
  const raw = findHttpBody(route, message);
  if (raw !== undefined) {
    return { contentType: raw.contentType || "application/octet-stream", body: Buffer.from(raw.data) };
  }
  return {
    contentType: "application/json",
    body: JSON.stringify(messageJson(route, registry, message)),
  };
}

/** The google.api.HttpBody that a route answers with, if that is what it answers with. */
function findHttpBody({ output, responseBody }: Route, message: Message): HttpBody | undefined {
  if (responseBody.kind === "whole" && output.typeName === HttpBodySchema.typeName)
    return message as HttpBody;
  if (responseBody.kind !== "field" || !isHttpBody(responseBody.field)) return undefined;
  // The descriptor says that this property, where it is set, holds an HttpBody.
  return (fieldValue(message, responseBody.field) as HttpBody | undefined) ?? create(HttpBodySchema);
}

/** Whether a route answers with google.api.HttpBody, bytes of any content type. */
export function givesHttpBody({ output, responseBody }: Route): boolean {
  if (responseBody.kind === "whole") return output.typeName === HttpBodySchema.typeName;
  return responseBody.kind === "field" && isHttpBody(responseBody.field);
}

/** The JSON of a route's response: of the whole message, or of the field that response_body names. */
export function messageJson(route: Route, registry: Registry, message: Message): JsonValue {
  const json = toJson(route.output, message, writeOptions(registry));
  if (route.responseBody.kind !== "field") return json;
  const { field } = route.responseBody;
  const value =
    typeof json === "object" && json !== null && !Array.isArray(json) ? json[field.jsonName] : undefined;
  return value ?? unsetJson(field, registry);
}

/** `messageJson` as text; made once of a message that is frozen, which may go to many callers. */
export function printMessage(route: Route, registry: Registry, message: Message): string {
  let printed = printedByRoute.get(route);
  if (printed === undefined) {
    printed = new FrozenCache();
    printedByRoute.set(route, printed);
  }
  return printed.get(message, () => JSON.stringify(messageJson(route, registry, message)));
}

const printedByRoute = new WeakMap<Route, FrozenCache<string>>();

/** What stands for a field that is not set: a message without anything in it, otherwise null. */
function unsetJson(field: DescField, registry: Registry): JsonValue {
  if (field.fieldKind !== "message" || hasOwnJsonForm(field.message)) return null;
  return toJson(field.message, create(field.message), writeOptions(registry));
}

/** Made once a registry, since every answer needs them. */
function writeOptions(registry: Registry): Partial<JsonWriteOptions> {
  let options = allWriteOptions.get(registry);
  if (options === undefined) {
    options = { registry, alwaysEmitImplicit: true };
    allWriteOptions.set(registry, options);
  }
  return options;
}

const allWriteOptions = new WeakMap<Registry, Partial<JsonWriteOptions>>();

function fieldValue(message: Message, field: DescField): unknown {
  // Messages are plain objects whose properties the descriptor names; TypeScript cannot know them here.
  const properties = message as unknown as Record<string, unknown>;
  if (field.fieldKind !== "message" || field.oneof === undefined) return properties[field.localName];
  const oneof = properties[field.oneof.localName] as { case?: string; value?: unknown };
  return oneof.case === field.localName ? oneof.value : undefined;
}

/** Writes a whole response, compressed as its caller likes it. HTTP drops the body where the method is HEAD. */
export function sendPayload(
  req: IncomingMessage,
  res: ServerResponse,
  status: number,
  headers: Record<string, string | string[]>,
  { contentType, body }: Payload,
): void | Promise<void> {
  headers["content-type"] = contentType;
  const length = Buffer.byteLength(body);
  if (length >= MIN_COMPRESSED_BYTES) {
    varyBy(res, headers, "accept-encoding");
    const coding = chooseCoding(req);
    if (coding !== undefined) {
      headers["content-encoding"] = coding;
      return compress[coding](body).then((bytes) => send(res, status, headers, bytes));
    }
  }
  send(res, status, headers, body, length);
}

/** Tells caches that the answer depends on a header of the request, besides what was said of it before. */
export function varyBy(res: ServerResponse, headers: Record<string, string | string[]>, name: string): void {
  // What the server around has said stays: CORS varies by origin.
  const others = [res.getHeader("vary"), headers.vary].filter((value) => value !== undefined).map(String);
  headers.vary = [...others, name].join(", ");
}

function send(
  res: ServerResponse,
  status: number,
  headers: Record<string, string | string[] | number>,
  body: Buffer | string,
  length = body.length,
): void {
  // Its caller may have gone meanwhile.
  if (isGone(res)) return;
  headers["content-length"] = length;
  res.writeHead(status, headers);
  res.end(body);
}

function chooseCoding(req: IncomingMessage): "br" | "gzip" | undefined {
  const header = req.headers["accept-encoding"];
  return header === undefined ? undefined : chooseAlternative(String(header), ["br", "gzip"], ["*"]);
}

/** How the caller wants a stream compressed. Where it has no preference gzip, which holds less memory while open. */
export function chooseStreamCoding(req: IncomingMessage): "br" | "gzip" | undefined {
  const header = req.headers["accept-encoding"];
  return header === undefined ? undefined : chooseAlternative(String(header), ["gzip", "br"], ["*"]);
}
