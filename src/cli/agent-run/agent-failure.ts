import type { AgentError } from "../../agent-sdk/agent-client.ts";
import { isStatusName } from "../exit-codes.ts";
import { Failure } from "../failure.ts";

/** The failure of a command that an error of the SDK means; `tokenFrom` says where the token came from, in words. */
export function failureOfAgent(error: AgentError, tokenFrom: string): Failure {
  const status = isStatusName(error.status) ? error.status : "UNKNOWN";
  const failure = new Failure(status, error.message, { kind: "transport", mayHaveArrived: true }, error);
  if (error.reason === "SESSION_SUPERSEDED") failure.hint = "Another process runs as the same agent.";
  else if (status === "UNAUTHENTICATED") failure.hint = `The token from ${tokenFrom} was not accepted.`;
  else if (status === "UNIMPLEMENTED") failure.hint = "Is --grpc-url the server's native gRPC port?";
  return failure;
}
