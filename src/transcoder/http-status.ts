import { Code } from "@connectrpc/connect";
import { codeNames } from "../runtime/code-name.ts";

/** The HTTP status of each code, as google.rpc.Code names them and grpc-gateway and Vanguard agree. */
const HTTP_STATUS = {
  [Code.Canceled]: 499,
  [Code.Unknown]: 500,
  [Code.InvalidArgument]: 400,
  [Code.DeadlineExceeded]: 504,
  [Code.NotFound]: 404,
  [Code.AlreadyExists]: 409,
  [Code.PermissionDenied]: 403,
  [Code.ResourceExhausted]: 429,
  [Code.FailedPrecondition]: 400,
  [Code.Aborted]: 409,
  [Code.OutOfRange]: 400,
  [Code.Unimplemented]: 501,
  [Code.Internal]: 500,
  [Code.Unavailable]: 503,
  [Code.DataLoss]: 500,
  [Code.Unauthenticated]: 401,
} as const satisfies Record<Code, number>;

/** The HTTP status that answers an error of this code; the seventeenth code, OK, is 200 and no error. */
export function httpStatus(code: Code): number {
  return HTTP_STATUS[code];
}

/** The name of a code as google.rpc.Code spells it, for example "INVALID_ARGUMENT". */
export function statusName(code: Code): string {
  return codeNames[code];
}
