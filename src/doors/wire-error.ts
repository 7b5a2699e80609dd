import { Code, ConnectError } from "@connectrpc/connect";
import { RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.js";

/** A failure as the wire shows it: an error that is not a ConnectError keeps its inside to itself. */
export function wireErrorOf(reason: unknown): ConnectError {
  const error =
    reason instanceof ConnectError
      ? reason
      : new ConnectError("internal error", Code.Internal, undefined, undefined, reason);
  mendWireError(error);
  return error;
}

/**
 * Corrects, in place, what the Connect library answers differently from our guarantees: bytes that cannot be
 * decoded are the caller's fault (it says INTERNAL), and a message must survive percent-encoding. Adds the headers
 * that HTTP wants beside 401 and 429.
 */
export function mendWireError(error: ConnectError): void {
  if (error.code === Code.Internal && isUndecodableRequest(error.rawMessage)) {
    rewrite(error, Code.InvalidArgument, error.rawMessage);
  }
  // A lone surrogate, quoted from a request, would make the encoding of grpc-message throw.
  if (!error.rawMessage.isWellFormed()) rewrite(error, error.code, error.rawMessage.toWellFormed());
  if (error.code === Code.Unauthenticated && !error.metadata.has("www-authenticate")) {
    error.metadata.set("www-authenticate", "Bearer");
  }
  if (error.code === Code.ResourceExhausted && !error.metadata.has("retry-after")) {
    const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
    if (delay !== undefined) {
      // Retry-After counts whole seconds; rounding up never invites a caller too early.
      error.metadata.set("retry-after", String(Number(delay.seconds) + (delay.nanos > 0 ? 1 : 0)));
    }
  }
}

// The texts are those of @connectrpc/connect at the pinned version; tests/doors sends such bytes through every door.
function isUndecodableRequest(message: string): boolean {
  return (
    message.startsWith("parse binary: ") ||
    message === "decompression failed" ||
    message === "received compressed envelope, but do not know how to decompress"
  );
}

function rewrite(error: ConnectError, code: Code, message: string): void {
  // These fields are read-only to users of an error; here, on its way out, the error is still ours to finish.
  const open = error as { code: Code; rawMessage: string; message: string };
  const { message: full } = new ConnectError(message, code);
  open.code = code;
  open.rawMessage = message;
  open.message = full;
}
