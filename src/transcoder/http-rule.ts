import { type DescMethod, getOption, hasOption } from "@bufbuild/protobuf";
import { http } from "../../gen/google/api/annotations_pb.js";
import type { HttpRule } from "../../gen/google/api/http_pb.js";

/** One binding of an RPC to HTTP, as its annotation says it; "" where the annotation leaves something out. */
export interface HttpBinding {
  httpMethod: string;
  template: string;
  body: string;
  responseBody: string;
}

/** The bindings of an RPC, its own first, then the additional ones; none without an annotation. */
export function readHttpBindings(method: DescMethod): HttpBinding[] {
  if (!hasOption(method, http)) return [];
  const rule = getOption(method, http);
  const nested = rule.additionalBindings.find((additional) => additional.additionalBindings.length > 0);
  if (nested !== undefined) throw new Error("an additional binding has additional bindings of its own");
  return [rule, ...rule.additionalBindings].map(readBinding);
}

function readBinding(rule: HttpRule): HttpBinding {
  const { body, responseBody } = rule;
  switch (rule.pattern.case) {
    case undefined:
      throw new Error("a binding names no HTTP method and path");
    case "custom": {
      const { kind, path } = rule.pattern.value;
      if (!/^(\*|[!#$%&'*+.^_`|~0-9A-Za-z-]+)$/.test(kind)) throw new Error(`"${kind}" is no HTTP method`);
      return { httpMethod: kind, template: path, body, responseBody };
    }
    default:
      return {
        httpMethod: rule.pattern.case.toUpperCase(),
        template: rule.pattern.value,
        body,
        responseBody,
      };
  }
}
