import type { JsonObject } from "@bufbuild/protobuf";
import { validate } from "@readme/openapi-parser";
import { Validator } from "@seriousme/openapi-schema-validator";
import { describe, expect, test } from "vitest";
import { describeRoutes } from "../../src/transcoder/openapi.ts";
import { createTranscoder } from "../../src/transcoder/transcoder.ts";
import { OpenApiCheck } from "../helpers/openapi-check.ts";
import { serviceOf, zooService } from "./protos.ts";

const COMMENTS: Record<string, string> = {
  "zoo.v1.ZooService": "Everything with animals.",
  "zoo.v1.ZooService.GetAnimal": "Finds one, e.g. a cat. Never two.",
  "zoo.v1.Animal": "A beast.",
  "zoo.v1.Animal.age": "In years.",
  "zoo.v1.AnimalKind.ANIMAL_KIND_CAT": "Purrs.",
};

function describeZoo(enumNames: "short" | "proto" = "short"): JsonObject {
  const { routes } = createTranscoder({ services: [{ service: zooService, implementation: {} }], enumNames });
  return describeRoutes(routes, {
    title: "Zoo",
    version: "v1",
    bearer: { description: "A keeper's token." },
    comment: (name) => COMMENTS[name],
    constrain: ({ name }) => (name === "tag" ? { maxLength: 10 } : {}),
    examples: { "zoo.v1.ZooService/TagAnimal": { request: { tag: "x" }, answer: { name: "a" } } },
  });
}

/** What stands at a path of names. */
function at(json: unknown, ...path: string[]): unknown {
  return path.reduce((value, name) => (value as Record<string, unknown> | undefined)?.[name], json);
}

const zoo = describeZoo();

describe("the description", () => {
  test("is OpenAPI 3.1, say two validators", async () => {
    expect(await new Validator().validate(structuredClone(zoo))).toEqual({ valid: true });
    // Its type wants a document that the compiler knows to be one, which is what is to be found out.
    const document = structuredClone(zoo) as unknown as Parameters<typeof validate>[0];
    expect(await validate(document)).toMatchObject({ valid: true });
  });

  test("has every route whose method OpenAPI knows", () => {
    const operations = Object.entries(at(zoo, "paths") as JsonObject).flatMap(([path, item]) =>
      Object.keys(item as JsonObject).map((method) => `${method} ${path}`),
    );
    expect(operations.sort()).toMatchInlineSnapshot(`
      [
        "get /v1/animals",
        "get /v1/animals/{name}",
        "get /v1/animals:byName",
        "get /v1/animals:nextPage",
        "get /v1/animals:watch",
        "get /v1/download",
        "get /v1/echo",
        "get /v1/files/{rest}",
        "get /v1/kinds/{kind}/animals/{number}",
        "get /v1/shelters/{name1}/animals/{name2}",
        "patch /v1/animals/{name}",
        "post /v1/animals/{name}/tag",
        "post /v1/animals/{name}:retag",
        "post /v1/animals/{name}:tag",
        "post /v1/animals:weigh",
        "post /v1/echo",
        "post /v1/reflect",
        "post /v1/struct",
        "post /v1/uploads/{name}",
        "put /v1/animals/{name}",
      ]
    `);
  });

  test("speaks of an RPC in the words of its comment", () => {
    expect(at(zoo, "paths", "/v1/animals/{name}", "get")).toMatchObject({
      operationId: "ZooService_GetAnimal",
      tags: ["ZooService"],
      summary: "Finds one, e.g. a cat",
      description: "Finds one, e.g. a cat. Never two.",
    });
    expect(at(zoo, "tags")).toEqual([{ name: "ZooService", description: "Everything with animals." }]);
  });

  test("wants a token for everything", () => {
    expect(at(zoo, "security")).toEqual([{ bearer: [] }]);
    expect(at(zoo, "components", "securitySchemes", "bearer")).toMatchObject({ scheme: "bearer" });
  });

  test("spells enum values as the transcoder does", () => {
    const schema = (document: JsonObject) => at(document, "components", "schemas", "AnimalKind");
    expect(schema(zoo)).toMatchObject({ type: "string", enum: ["unspecified", "cat", "sea_lion"] });
    expect(at(schema(zoo), "description")).toContain("- `cat`: Purrs.");
    expect(schema(describeZoo("proto"))).toMatchObject({
      enum: ["ANIMAL_KIND_UNSPECIFIED", "ANIMAL_KIND_CAT", "ANIMAL_KIND_SEA_LION"],
    });
  });

  test("keeps what the path carries out of the body, and adds what rules say", () => {
    const tag = at(zoo, "paths", "/v1/animals/{name}:tag", "post");
    expect(at(tag, "requestBody", "content", "application/json")).toEqual({
      schema: { $ref: "#/components/schemas/TagRequest.without.name" },
      example: { tag: "x" },
    });
    const body = at(zoo, "components", "schemas", "TagRequest.without.name", "properties");
    expect(body).toEqual({ tag: { type: "string", maxLength: 10 } });
    expect(at(tag, "responses", "200", "content", "application/json", "example")).toEqual({
      name: "a",
      tag: "",
    });
  });

  test("tells of query parameters by their JSON names, nested ones with dots, and of no bodies' fields", () => {
    const names = (path: string, method: string) =>
      (at(zoo, "paths", path, method, "parameters") as { name: string; in: string }[])
        .filter((parameter) => parameter.in === "query")
        .map(({ name }) => name);
    expect(names("/v1/animals/{name}", "put")).toEqual(["dryRun", "tags"]);
    expect(names("/v1/animals/{name}", "get")).toEqual(["number", "kind", "flag", "rest", "many", "query"]);
  });

  test("lists as required what answers always hold, and nothing of what requests hold", () => {
    expect(at(zoo, "components", "schemas", "Sum", "required")).toEqual(["count", "weightGrams"]);
    expect(at(zoo, "components", "schemas", "TagRequest", "required")).toBeUndefined();
  });

  test("makes a parameter of each wildcard in a variable of several segments", () => {
    const get = at(zoo, "paths", "/v1/shelters/{name1}/animals/{name2}", "get");
    expect(at(get, "operationId")).toBe("ZooService_GetAnimal_3");
    expect(at(get, "parameters", "0")).toMatchObject({
      name: "name1",
      required: true,
      description: "Part of name = shelters/*/animals/*.",
    });
    expect(at(zoo, "paths", "/v1/files/{rest}", "get", "parameters", "0", "description")).toContain(
      "several segments",
    );
  });

  test("describes streams in each layout", () => {
    const content = at(zoo, "paths", "/v1/animals:watch", "get", "responses", "200", "content");
    expect(Object.keys(content as JsonObject)).toEqual([
      "application/x-ndjson",
      "text/event-stream",
      "application/json",
    ]);
    expect(at(zoo, "paths", "/v1/animals:weigh", "post", "requestBody", "content")).toHaveProperty([
      "application/x-ndjson",
    ]);
    expect(at(zoo, "paths", "/v1/uploads/{name}", "post", "requestBody", "content")).toEqual({ "*/*": {} });
  });

  test("names parameters alike where two paths have one shape", async () => {
    const service = serviceOf({ A: "GET /v1/{a}", B: "DELETE /v1/{b}" });
    const { routes } = createTranscoder({ services: [{ service, implementation: {} }] });
    const document = describeRoutes(routes, { title: "T", version: "1" });
    expect(Object.keys(at(document, "paths") as JsonObject)).toEqual(["/v1/{a}"]);
    expect(at(document, "paths", "/v1/{a}", "delete", "parameters", "0", "name")).toBe("a");
    expect(await new Validator().validate(document)).toEqual({ valid: true });
  });
});

describe("the check of answers", () => {
  const check = new OpenApiCheck(zoo);
  const request = { method: "POST", target: "/v1/animals/a:tag" };
  const answer = (status: number, body: unknown, contentType = "application/json") => ({
    status,
    contentType,
    text: JSON.stringify(body),
  });
  const error = { error: { code: 400, status: "INVALID_ARGUMENT", message: "no", details: [] } };

  test("finds nothing where all is as described", () => {
    expect(check.differences(request, answer(200, { name: "a", tag: "b" }))).toEqual([]);
    expect(check.differences(request, answer(400, error))).toEqual([]);
  });

  test.each([
    ["a field that is not described", 200, { name: "a", other: 1 }],
    ["a value of the wrong type", 200, { name: 1 }],
    ["an error without its body", 400, { message: "no" }],
    ["an error that is no code", 400, { error: { ...error.error, status: "BAD" } }],
  ])("finds %s", (_what, status, body) => {
    expect(check.differences(request, answer(status, body))).not.toEqual([]);
  });

  test("finds another content type, and a path that is not described", () => {
    expect(check.differences(request, answer(200, {}, "text/plain"))).not.toEqual([]);
    expect(check.differences({ method: "GET", target: "/v2" }, answer(200, {}))).not.toEqual([]);
  });
});
