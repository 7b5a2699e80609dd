import { create, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.js";
import { peerKey } from "../doors/door.ts";
import { Refusal, type RefusalKind } from "../runtime/refusal.ts";
import type { CallEnd, CallMetrics } from "./call-metrics.ts";

/** Whose constants the reasons in error details are. */
const REASON_DOMAIN = "drover";

const codes = {
  aborted: Code.Aborted,
  "already-exists": Code.AlreadyExists,
  "deadline-exceeded": Code.DeadlineExceeded,
  "failed-precondition": Code.FailedPrecondition,
  "invalid-argument": Code.InvalidArgument,
  "not-found": Code.NotFound,
  "out-of-range": Code.OutOfRange,
  "permission-denied": Code.PermissionDenied,
  "resource-exhausted": Code.ResourceExhausted,
  unauthenticated: Code.Unauthenticated,
  unavailable: Code.Unavailable,
} satisfies Record<RefusalKind, Code>;

/** Hears of errors that nobody meant, with the method that met them. */
export type ReportFailure = (method: string, error: unknown) => void;

/**
 * Maps what a call throws to the codes of the protocols, once for all methods. A refusal is shown as it is; of anything
 * else the caller learns only that the server failed, and the log learns the rest.
 */
export function createErrorInterceptor(reportFailure: ReportFailure, calls?: CallMetrics): Interceptor {
  return (next) => async (request) => {
    const method = `${request.service.typeName}/${request.method.name}`;
    const ended = calls?.begin(request.method, request.contextValues.get(peerKey).door) ?? unheard;
    const explain = (error: unknown) => {
      const explained = toConnectError(error, request.signal, () => reportFailure(method, error));
      ended(explained.code);
      return explained;
    };
    try {
      const response = await next(request);
      if (response.stream) return { ...response, message: explainStream(response.message, explain, ended) };
      ended("ok");
      return response;
    } catch (error) {
      throw explain(error);
    }
  };
}

const unheard = (): void => {};

/** No generator: it would cost each message of a stream several turns of the event loop's queue. */
function explainStream<T>(
  messages: AsyncIterable<T>,
  explain: (error: unknown) => unknown,
  ended: (end: CallEnd) => void,
): AsyncIterable<T> {
  let isOver = false;
  const hear = (result: IteratorResult<T>): IteratorResult<T> => {
    if (result.done && !isOver) {
      isOver = true;
      ended("ok");
    }
    return result;
  };
  const rethrow = (error: unknown): never => {
    isOver = true;
    throw explain(error);
  };
  return {
    [Symbol.asyncIterator]() {
      const source = messages[Symbol.asyncIterator]();
      return {
        next: () => source.next().then(hear, rethrow),
        async return() {
          // Whoever read the messages went away.
          if (!isOver) ended(Code.Canceled);
          isOver = true;
          await source.return?.();
          return { done: true, value: undefined };
        },
      };
    },
  };
}

function toConnectError(error: unknown, signal: AbortSignal, report: () => void): ConnectError {
  const isOwn = error instanceof Refusal || error instanceof ConnectError;
  if (!isOwn && signal.aborted) return ConnectError.from(signal.reason ?? error, Code.Canceled);
  return explainError(error, report);
}

/** What a caller is shown of an error: what it may know, or else that the server failed; `report` hears of the latter. */
export function explainError(error: unknown, report: () => void): ConnectError {
  if (error instanceof Refusal) return refusalToConnectError(error);
  if (error instanceof ConnectError) return error;
  report();
  return new ConnectError("the server failed; its log says why", Code.Internal, undefined, undefined, error);
}

type Detail = { [D in DescMessage as string]: { desc: D; value: MessageInitShape<D> } }[string];

/** A refusal in the terms of the protocols, with google.rpc details. */
export function refusalToConnectError(refusal: Refusal): ConnectError {
  const details: Detail[] = [];
  if (refusal.violations.length > 0) {
    details.push({
      desc: BadRequestSchema,
      value: create(BadRequestSchema, { fieldViolations: [...refusal.violations] }),
    });
  }
  if (refusal.reason !== undefined) {
    details.push({
      desc: ErrorInfoSchema,
      value: create(ErrorInfoSchema, { reason: refusal.reason, domain: REASON_DOMAIN }),
    });
  }
  if (refusal.retryAfterMs !== undefined) {
    // Whole ones: a fraction could not be encoded.
    const retryDelay = durationFromMs(Math.ceil(refusal.retryAfterMs));
    details.push({ desc: RetryInfoSchema, value: create(RetryInfoSchema, { retryDelay }) });
  }
  const headers: Record<string, string> = { ...refusal.headers };
  if (refusal.retryAfterMs !== undefined)
    headers["retry-after"] = String(Math.ceil(refusal.retryAfterMs / 1000));
  return new ConnectError(refusal.message, codes[refusal.kind], headers, details, refusal.cause);
}
