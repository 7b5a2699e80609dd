import type { DescMessage, Message } from "@bufbuild/protobuf";
import type { Interceptor } from "@connectrpc/connect";
import { policyOf } from "./method-policy.ts";
import type { ValidateMessage } from "./validate-message.ts";

/**
 * Refuses requests that break a rule of the contract, with every violation listed. A stream ends at its first bad
 * message, but for those whose policy says that they answer a bad message and go on.
 */
export function createValidationInterceptor(validate: ValidateMessage): Interceptor {
  return (next) => async (request) => {
    const { input } = request.method;
    if (!request.stream) {
      validate(input, request.message);
      return await next(request);
    }
    if (policyOf(request.method)?.validatesItself) return await next(request);
    return await next({ ...request, message: validateAll(validate, input, request.message) });
  };
}

async function* validateAll<M extends Message>(
  validate: ValidateMessage,
  schema: DescMessage,
  messages: AsyncIterable<M>,
): AsyncIterable<M> {
  for await (const message of messages) {
    validate(schema, message);
    yield message;
  }
}
