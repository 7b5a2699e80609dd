import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema, RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.js";
import { codeNames } from "../runtime/code-name.ts";
import { connectionFailureOf, type Destination } from "./connection-failure.ts";

/** Why the server did not do what it was asked, or why it could not be asked; plain data, so that threads can pass it on. */
export interface CallRefusal {
  /** A code of gRPC. */
  readonly code: Code;
  /** A constant that programs can compare, such as LEASE_LOST; empty where the server gave none. */
  readonly reason: string;
  readonly message: string;
}

/** Thrown by the SDK's calls; `status` is the code's name, such as FAILED_PRECONDITION. */
export class AgentError extends Error {
  readonly code: Code;
  readonly reason: string;

  constructor({ code, reason, message }: CallRefusal, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "AgentError";
    this.code = code;
    this.reason = reason;
  }

  get status(): string {
    return statusName(this.code);
  }
}

/** The name of a code as google.rpc.Code spells it. */
export function statusName(code: Code): string {
  // As a server sent it, which may know more codes.
  const known: Partial<Record<number, string>> = codeNames;
  return known[code] ?? codeNames[Code.Unknown];
}

/**
 * What an error of a call says, by a connection that led there, and how long it asks to be left alone (in milliseconds,
 * 0 if it does not).
 */
export function refusalOf(
  error: unknown,
  destination: Destination,
): CallRefusal & { readonly retryAfterMs: number } {
  const { code, rawMessage, details } = ConnectError.from(error, Code.Unavailable);
  const isKnown = details.length > 0 && error instanceof ConnectError;
  const reason = isKnown ? (error.findDetails(ErrorInfoSchema)[0]?.reason ?? "") : "";
  const retry = isKnown ? error.findDetails(RetryInfoSchema)[0]?.retryDelay : undefined;
  const retryAfterMs = retry === undefined ? 0 : Number(retry.seconds) * 1000 + retry.nanos / 1e6;
  const failure = connectionFailureOf(error, destination);
  return {
    code: failure?.isAway ? Code.Unavailable : code,
    reason,
    message: failure?.message ?? rawMessage,
    retryAfterMs,
  };
}
