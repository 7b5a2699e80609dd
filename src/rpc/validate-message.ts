import type { DescEnum, DescMessage, Message } from "@bufbuild/protobuf";
import { pathToString } from "@bufbuild/protobuf/reflect";
import { type Violation as BrokenRule, createValidator, type Validator } from "@bufbuild/protovalidate";
import type { Violation } from "../runtime/refusal.ts";
import { findTextViolations } from "./check-message.ts";
import { findJsonViolations } from "./json-limits.ts";
import { refuseViolations } from "./refuse-violations.ts";

/** Throws INVALID_ARGUMENT with every violation of one message. */
export type ValidateMessage = (schema: DescMessage, message: Message) => void;

/**
 * The rule for every message that comes in, whether a call brings it or a stream. What a text must not hold is checked
 * first, for the rules of the contract read it.
 */
export function createMessageValidator(): ValidateMessage {
  const validator = createValidator();
  return (schema, message) => validate(validator, schema, message);
}

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
