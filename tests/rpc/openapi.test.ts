import type { JsonObject } from "@bufbuild/protobuf";
import { validate } from "@readme/openapi-parser";
import { Validator } from "@seriousme/openapi-schema-validator";
import { Ajv2020 } from "ajv/dist/2020.js";
import { describe, expect, test } from "vitest";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { EventService } from "../../gen/drover/v1/event_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { ProjectService } from "../../gen/drover/v1/project_service_pb.js";
import { TokenService } from "../../gen/drover/v1/token_service_pb.js";
import { describeApi } from "../../src/rpc/openapi.ts";
import { examples } from "../../src/rpc/openapi-examples.ts";
import { createTranscoder } from "../../src/transcoder/transcoder.ts";
import { OpenApiCheck } from "../helpers/openapi-check.ts";

const services = [AgentService, EventService, FleetService, ProjectService, TokenService];
const { routes } = createTranscoder({
  services: services.map((service) => ({ service, implementation: {} })),
});
const description = describeApi(routes);

interface Operation {
  summary?: string;
  description?: string;
  parameters?: { name: string; description?: string }[];
  responses: { "200": { content: Record<string, { example?: JsonObject }> } };
}

function operations(): [name: string, operation: Operation][] {
  const paths = description.paths as unknown as Record<string, Record<string, Operation>>;
  return Object.entries(paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]): [string, Operation] => [`${method} ${path}`, operation]),
  );
}

describe("the API's description", () => {
  test("is OpenAPI 3.1, say two validators", async () => {
    expect(await new Validator().validate(structuredClone(description))).toEqual({ valid: true });
    // Its type wants a document that the compiler knows to be one, which is what is to be found out.
    const document = structuredClone(description) as unknown as Parameters<typeof validate>[0];
    expect(await validate(document)).toMatchObject({ valid: true });
  });

  test("has every route", () => {
    expect(operations()).toHaveLength(routes.length);
    expect(operations().map(([name]) => name)).toContain("post /api/v1/agents/{agent}:reset");
  });

  test.each(operations())(
    "%s is explained in words, and so is each of its parameters",
    (_name, operation) => {
      expect(operation.summary).toMatch(/^[A-Z]/);
      for (const parameter of operation.parameters ?? []) expect(parameter.description).toMatch(/\S/);
    },
  );

  test("carries the rules of fields", () => {
    const request = description.components as unknown as {
      schemas: Record<string, { properties: Record<string, JsonObject> }>;
    };
    const properties = request.schemas.HeartbeatRequest?.properties ?? {};
    expect(properties.status).toMatchObject({ enum: ["online", "busy", "benchmarked", "error"] });
    expect(properties.capabilities).toMatchObject({ maxItems: 64 });
    expect(request.schemas.HeartbeatError?.properties.message).toMatchObject({
      minLength: 1,
      maxLength: 4096,
    });
  });

  test("names no message twice and leaves no reference without its end", () => {
    const ajv = new Ajv2020({ strict: false, validateFormats: false });
    ajv.addSchema(description, "api");
    const { schemas } = description.components as { schemas: JsonObject };
    for (const name of Object.keys(schemas)) {
      expect(ajv.getSchema(`api#/components/schemas/${name}`)).toBeTypeOf("function");
    }
  });
});

describe("the examples", () => {
  const check = new OpenApiCheck(description);

  test.each(Object.entries(examples))("%s: its answer is as the description says", (rpc, { answer }) => {
    const route = routes.find((one) => one.rpc === rpc);
    if (route === undefined) throw new Error(`${rpc} has no route`);
    if (answer === undefined) return;
    const paths = description.paths as unknown as Record<string, Record<string, Operation>>;
    const shown = paths[route.templateText]?.[route.httpMethod.toLowerCase()]?.responses["200"].content;
    const text = JSON.stringify(shown?.["application/json"]?.example);
    const sent = { method: route.httpMethod, target: route.templateText };
    expect(check.differences(sent, { status: 200, contentType: "application/json", text })).toEqual([]);
  });
});
