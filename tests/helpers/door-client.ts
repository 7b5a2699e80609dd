import {
  create,
  type DescMessage,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { type Code, ConnectError, type Transport } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.js";
import { messageOfBytes } from "./message-of-bytes.ts";

/** What a call came to, in the same terms whichever door it went through. */
export type Outcome<O extends DescMessage> = { ok: true; message: MessageShape<O> } | Failure;

export interface Failure {
  ok: false;
  code: Code;
  message: string;
  violations: { field: string; description: string }[];
  reason: string | undefined;
  retryAfterMs: number | undefined;
  /** Where the door shows one. */
  httpStatus?: number;
  /** Response headers and trailers as far as the door shows them. */
  headers: Headers;
}

export interface CallOptions {
  token?: string;
  headers?: Record<string, string>;
}

/** One request in the two forms in which doors carry it, for what no client library would send by itself. */
export interface RawRequest {
  bytes: Uint8Array;
  json: string;
}

/** A client of one door, the same for all. */
export interface DoorClient {
  /** What requests travel as. */
  readonly carries: "protobuf" | "json";
  call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    options?: CallOptions,
  ): Promise<Outcome<O>>;
  /** Sends what is given: `bytes` where the door carries protobuf, `json` where it carries JSON. */
  callRaw<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: RawRequest,
    options?: CallOptions,
  ): Promise<Outcome<O>>;
  close(): Promise<void>;
}

export function headersOf({ token, headers }: CallOptions): Record<string, string> {
  return { ...(token !== undefined && { authorization: `Bearer ${token}` }), ...headers };
}

/** A client of any door that a Connect transport carrying protobuf can speak to. */
export function clientOfTransport(transport: Transport, close: () => void): DoorClient {
  const call: DoorClient["call"] = async (method, request, options = {}) => {
    try {
      const { message } = await transport.unary(method, undefined, undefined, headersOf(options), request);
      return { ok: true, message };
    } catch (reason) {
      return failureOf(reason);
    }
  };
  return {
    carries: "protobuf",
    call,
    callRaw: (method, { bytes }, options) =>
      // A message is one of its own initial shapes; the type parameter hides that.
      call(method, messageOfBytes(method.input, bytes) as MessageInitShape<typeof method.input>, options),
    close: async () => close(),
  };
}

/** Reads a failure's details; anything that is not a ConnectError is a fault of the test. */
export function failureOf(reason: unknown, httpStatus?: number): Failure {
  if (!(reason instanceof ConnectError)) throw reason;
  const [retry] = reason.findDetails(RetryInfoSchema);
  return {
    ok: false,
    code: reason.code,
    message: reason.rawMessage,
    violations: reason
      .findDetails(BadRequestSchema)
      .flatMap(({ fieldViolations }) =>
        fieldViolations.map(({ field, description }) => ({ field, description })),
      ),
    reason: reason.findDetails(ErrorInfoSchema)[0]?.reason,
    retryAfterMs: retry?.retryDelay && durationMs(retry.retryDelay),
    ...(httpStatus !== undefined && { httpStatus }),
    headers: reason.metadata,
  };
}

/** The message of a call that must have succeeded. */
export function messageOf<O extends DescMessage>(outcome: Outcome<O>): MessageShape<O> {
  if (outcome.ok) return outcome.message;
  throw new Error(`the call failed: ${JSON.stringify({ ...outcome, headers: [...outcome.headers] })}`);
}

/** The failure of a call that must not have succeeded. */
export function refusalOf(outcome: Outcome<DescMessage>): Failure {
  if (!outcome.ok) return outcome;
  throw new Error(
    `the call succeeded: ${JSON.stringify(outcome.message, (_, v) => (typeof v === "bigint" ? `${v}` : v))}`,
  );
}

const SURROGATE_STAND_IN = "\uE000";

/**
 * A request whose texts may hold lone surrogates: in JSON as the escape, in protobuf as the bytes that a careless
 * encoder would make of it, which are no UTF-8. `init` must not hold U+E000 otherwise.
 */
export function rawRequest<I extends DescMessage>(
  schema: I,
  init: MessageInitShape<I>,
  json: unknown,
): RawRequest {
  const bytes = Buffer.from(toBinary(schema, create(schema, init)));
  const standIn = Buffer.from(SURROGATE_STAND_IN);
  for (let at = bytes.indexOf(standIn); at !== -1; at = bytes.indexOf(standIn))
    bytes.set([0xed, 0xa0, 0x80], at);
  return { bytes, json: JSON.stringify(json) };
}

export { SURROGATE_STAND_IN };

/** Bytes as text that JSON can carry into a browser and back. */
export const toBase64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
export const messageFromBase64 = <D extends DescMessage>(schema: D, text: string): MessageShape<D> =>
  fromBinary(schema, Buffer.from(text, "base64"));
