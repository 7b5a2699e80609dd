import type { DescEnum, DescMessage, Message } from "@bufbuild/protobuf";
import { pathToString } from "@bufbuild/protobuf/reflect";
import { type Violation as BrokenRule, createValidator, type Validator } from "@bufbuild/protovalidate";
import type { Interceptor } from "@connectrpc/connect";
import type { Violation } from "../runtime/refusal.ts";
import { findTextViolations } from "./check-message.ts";
import { findJsonViolations } from "./json-limits.ts";
import { refuseViolations } from "./refuse-violations.ts";

/**
 * Refuses requests that break a rule of the contract, with every violation listed. What a text must not hold is checked
 * first, for the rules of the contract read it.
 */
export function createValidationInterceptor(): Interceptor {
  const validator = createValidator();
  return (next) => async (request) => {
    const { input } = request.method;
    if (request.stream) {
      return await next({ ...request, message: validateAll(validator, input, request.message) });
    }
    validate(validator, input, request.message);
    return await next(request);
  };
}

async function* validateAll<M extends Message>(
  validator: Validator,
  schema: DescMessage,
  messages: AsyncIterable<M>,
): AsyncIterable<M> {
  for await (const message of messages) {
    validate(validator, schema, message);
    yield message;
  }
}

/** Throws INVALID_ARGUMENT with every violation of one message. */
function validate(validator: Validator, schema: DescMessage, message: Message): void {
  const violations = findTextViolations(schema, message);
  if (violations.length === 0) violations.push(...findJsonViolations(schema, message));
  if (violations.length === 0) violations.push(...contractViolations(validator, schema, message));
  if (violations.length > 0) throw refuseViolations(violations);
}

function contractViolations(validator: Validator, schema: DescMessage, message: Message): Violation[] {
  const result = validator.validate(schema, message);
  switch (result.kind) {
    case "valid":
      return [];
    case "invalid":
      return result.violations.map((violation) => ({
        field: pathToString(violation.field),
        description: describe(violation),
      }));
    case "error":
      throw result.error;
  }
}

/** The rules know enums by number; whoever reads the answer knows them by name. */
function describe(violation: BrokenRule): string {
  const place = violation.field.findLast((part) => part.kind === "field");
  const descEnum = place?.kind === "field" ? place.enum : undefined;
  if (descEnum === undefined || !violation.ruleId.startsWith("enum.")) return violation.message;
  const numbers = /\[(.*)\]/.exec(violation.message)?.[1]?.split(", ").map(Number);
  const allowed = violation.ruleId === "enum.in" ? numbers : undefined;
  return `must be one of ${enumNames(descEnum, allowed).join(", ")}`;
}

function enumNames(descEnum: DescEnum, allowed: readonly number[] | undefined): string[] {
  const values = descEnum.values.filter(({ number }) =>
    allowed === undefined ? number !== 0 : allowed.includes(number),
  );
  return values.map(({ name }) => name.slice(descEnum.sharedPrefix?.length ?? 0).toLowerCase());
}
