import type { JsonObject } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { statusName } from "./http-status.ts";

const CODES = Object.values(Code).filter((code): code is Code => typeof code === "number");

const DETAIL = "type.googleapis.com/google.rpc.";

const fieldViolation: JsonObject = {
  type: "object",
  properties: {
    field: { type: "string", description: "The field's path, as the caller wrote it." },
    description: { type: "string", description: "What is wrong with it." },
    reason: { type: "string" },
  },
};

/** The body of every answer that is no success, as components. */
export const ERROR_SCHEMAS: JsonObject = {
  Error: {
    type: "object",
    description: "Why a call failed.",
    properties: {
      error: {
        type: "object",
        properties: {
          code: { type: "integer", description: "The HTTP status." },
          status: { type: "string", description: "The code of the error.", enum: CODES.map(statusName) },
          message: { type: "string", description: "What went wrong, in words." },
          details: { type: "array", items: { $ref: "#/components/schemas/ErrorDetail" } },
        },
        required: ["code", "status", "message", "details"],
        additionalProperties: false,
      },
    },
    required: ["error"],
    additionalProperties: false,
    examples: [
      {
        error: {
          code: 400,
          status: "INVALID_ARGUMENT",
          message: "status: must be one of online, busy",
          details: [
            {
              "@type": `${DETAIL}BadRequest`,
              fieldViolations: [{ field: "status", description: "must be one of online, busy" }],
            },
          ],
        },
      },
    ],
  },
  ErrorDetail: {
    type: "object",
    description:
      "What a program can act on: `google.rpc.BadRequest` lists every violation, `google.rpc.ErrorInfo` names the reason, `google.rpc.RetryInfo` says when to try again.",
    properties: {
      "@type": { type: "string", examples: [`${DETAIL}BadRequest`] },
      fieldViolations: { type: "array", items: fieldViolation },
      reason: { type: "string" },
      domain: { type: "string" },
      metadata: { type: "object", additionalProperties: { type: "string" } },
      retryDelay: { type: "string", pattern: "^-?[0-9]+(\\.[0-9]{1,9})?s$" },
    },
    required: ["@type"],
    additionalProperties: true,
  },
};

/** The answer that stands for every failure. */
export const ERROR_RESPONSE: JsonObject = {
  description: "The call failed; the body says why.",
  headers: {
    "retry-after": {
      description: "Seconds to wait before trying again, where that helps.",
      schema: { type: "integer" },
    },
  },
  content: { "application/json": { schema: { $ref: "#/components/schemas/Error" } } },
};
