import type { DescMessage } from "@bufbuild/protobuf";
import {
  create,
  createRegistry,
  fromBinary,
  type JsonObject,
  type Message,
  type Registry,
  toJson,
} from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  BadRequestSchema,
  file_google_rpc_error_details,
  RetryInfoSchema,
} from "../../gen/google/rpc/error_details_pb.js";
import { httpStatus, statusName } from "./http-status.ts";
import { hasOwnJsonForm } from "./leaf-values.ts";
import { BindingError } from "./violation.ts";

/** An error whose HTTP status says more than its code would, such as 405, 413 or 415. */
export class HttpRefusal extends Error {
  override readonly name = "HttpRefusal";
  readonly httpStatus: number;
  readonly error: ConnectError;

  constructor(status: number, error: ConnectError) {
    super(error.rawMessage, { cause: error });
    this.httpStatus = status;
    this.error = error;
  }
}

/** An error as HTTP: `body` is `{"error":{code,status,message,details}}`, the details in proto3 JSON. */
export interface ErrorResponse {
  status: number;
  metadata: Headers;
  body: JsonObject;
}

/** Turns whatever a call threw into its answer. What is not a ConnectError shows nothing of itself. */
export function encodeError(thrown: unknown, registry: Registry): ErrorResponse {
  const error = toConnectError(thrown);
  const status = thrown instanceof HttpRefusal ? thrown.httpStatus : httpStatus(error.code);
  const metadata = new Headers(error.metadata);
  if (status === 401 && !metadata.has("www-authenticate")) metadata.set("www-authenticate", "Bearer");
  const retryAfter = retryAfterSeconds(error);
  if (retryAfter !== undefined) metadata.set("retry-after", String(retryAfter));
  const details = error.details.map((detail) => encodeDetail(detail, withErrorDetails(registry)));
  const body = { code: status, status: statusName(error.code), message: error.rawMessage, details };
  return { status, metadata, body: { error: body } };
}

/** Whether something thrown is a fault of ours, which its caller is not told about. */
export function isUnexpected(thrown: unknown): boolean {
  return !(thrown instanceof HttpRefusal || thrown instanceof BindingError || thrown instanceof ConnectError);
}

function toConnectError(thrown: unknown): ConnectError {
  if (thrown instanceof HttpRefusal) return thrown.error;
  if (thrown instanceof ConnectError) return thrown;
  if (!(thrown instanceof BindingError)) return new ConnectError("the call failed", Code.Internal);
  const detail = { desc: BadRequestSchema, value: { fieldViolations: thrown.violations } };
  return new ConnectError(thrown.message, Code.InvalidArgument, undefined, [detail]);
}

function retryAfterSeconds(error: ConnectError): number | undefined {
  const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  if (delay === undefined) return undefined;
  return Math.max(0, Number(delay.seconds) + (delay.nanos > 0 ? 1 : 0));
}

const registries = new WeakMap<Registry, Registry>();

function withErrorDetails(registry: Registry): Registry {
  let joined = registries.get(registry);
  if (joined === undefined) {
    // The later entry wins, so that the services' own types keep their spelling.
    joined = createRegistry(file_google_rpc_error_details, registry);
    registries.set(registry, joined);
  }
  return joined;
}

function encodeDetail(detail: ConnectError["details"][number], registry: Registry): JsonObject {
  if ("desc" in detail) return typedJson(detail.desc, create(detail.desc, detail.value), registry);
  const desc = registry.getMessage(detail.type);
  if (desc !== undefined) {
    try {
      return typedJson(desc, fromBinary(desc, detail.value), registry);
    } catch {
      // Bytes that do not parse are shown as bytes.
    }
  }
  return { "@type": typeUrl(detail.type), value: Buffer.from(detail.value).toString("base64") };
}

/** A message as google.protobuf.Any writes it in JSON. */
function typedJson(desc: DescMessage, message: Message, registry: Registry): JsonObject {
  const json = toJson(desc, message, { registry });
  const type = { "@type": typeUrl(desc.typeName) };
  const isOwn = hasOwnJsonForm(desc) || typeof json !== "object" || json === null || Array.isArray(json);
  return isOwn ? { ...type, value: json } : { ...type, ...json };
}

function typeUrl(typeName: string): string {
  return `type.googleapis.com/${typeName}`;
}
