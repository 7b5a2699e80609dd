import { create } from "@bufbuild/protobuf";
import type { ConnectError } from "@connectrpc/connect";
import { type SessionRefusal, SessionRefusalSchema } from "../../gen/drover/v1/agent_service_pb.js";
import { BadRequestSchema, ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.js";

/** What a call of its own would have been refused with, as a message of a stream that goes on. */
export function refusalToMessage(error: ConnectError): SessionRefusal {
  const violations = error.findDetails(BadRequestSchema).flatMap(({ fieldViolations }) => fieldViolations);
  return create(SessionRefusalSchema, {
    code: error.code,
    message: error.rawMessage,
    reason: error.findDetails(ErrorInfoSchema)[0]?.reason ?? "",
    violations: violations.map(({ field, description }) => ({ field, description })),
  });
}
