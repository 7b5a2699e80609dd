import { type DescField, getOption, hasOption, type JsonObject } from "@bufbuild/protobuf";
import { type FieldRules, field as fieldRules } from "../../gen/buf/validate/validate_pb.js";

/** What a field's buf.validate rules mean in JSON Schema, as far as JSON Schema has words for them. */
export function constraintsOf(field: DescField): JsonObject {
  if (!hasOption(field, fieldRules)) return {};
  const rules = getOption(field, fieldRules);
  return keywordsOf(field, rules);
}

function keywordsOf(field: DescField, { type }: FieldRules): JsonObject {
  switch (type.case) {
    // Both count code points.
    case "string":
      return numbers({ minLength: type.value.minLen, maxLength: type.value.maxLen }, type.value.in);
    case "repeated":
      return numbers({ minItems: type.value.minItems, maxItems: type.value.maxItems });
    case "map":
      return numbers({ minProperties: type.value.minPairs, maxProperties: type.value.maxPairs });
    case "int32":
    case "uint32":
    case "double":
    case "float":
      return numbers({
        minimum: type.value.greaterThan.case === "gte" ? type.value.greaterThan.value : undefined,
        maximum: type.value.lessThan.case === "lte" ? type.value.lessThan.value : undefined,
      });
    case "enum":
      return enumNames(field, type.value.in);
    default:
      return {};
  }
}

/** A limit that is not set is 0 where it is a largest one, which no rule means. */
function numbers(
  limits: Record<string, bigint | number | undefined>,
  allowed: readonly string[] = [],
): JsonObject {
  const given = Object.entries(limits).flatMap(([name, limit]): [string, number][] => {
    const isUnset = limit === undefined || (typeof limit === "bigint" && limit === 0n);
    return isUnset ? [] : [[name, Number(limit)]];
  });
  return { ...Object.fromEntries(given), ...(allowed.length === 0 ? {} : { enum: [...allowed] }) };
}

function enumNames(field: DescField, allowed: readonly number[]): JsonObject {
  if (allowed.length === 0) return {};
  const values = field.enum?.values.filter(({ number }) => allowed.includes(number)) ?? [];
  return { enum: [...new Set(values.map(({ jsonName }) => jsonName))] };
}
