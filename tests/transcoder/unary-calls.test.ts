import type { JsonValue } from "@bufbuild/protobuf";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { recordMessages, ZooServer } from "./zoo-server.ts";

const seen: JsonValue[] = [];
const animal = { name: "Leo", kind: 1, age: 3, weightGrams: 5n };
const server = new ZooServer(
  {
    getAnimal: () => animal,
    listAnimals: () => ({ animals: [animal, { name: "Tom" }], byName: { Leo: animal }, nextPageToken: "n" }),
    findFile: (request) => request,
    putAnimal: (request) => ({ animal: request.animal, storedAt: { seconds: 60n, nanos: 0 } }),
    tagAnimal: (request) => request,
    echo: (request) => request,
    echoStruct: (request) => request,
    answer: (request) => request,
    upload: ({ name, file }) => ({ contentType: `${file.contentType}; of=${name}`, data: file.data }),
    reflect: (request) => request,
  },
  { interceptors: [recordMessages(seen)] },
);

beforeAll(() => server.start());
afterAll(() => server.stop());
beforeEach(() => {
  seen.length = 0;
});

describe("what the handler gets", () => {
  test.each<
    [method: string, path: string, body: object | string | undefined, message: JsonValue, why: string]
  >([
    ["GET", "/v1/animals/Leo", undefined, { name: "Leo" }, "a path variable"],
    ["GET", "/v1/animals/a%2Fb%20c", undefined, { name: "a/b c" }, "decoded"],
    [
      "GET",
      "/v1/kinds/cat/animals/7",
      undefined,
      { kind: "ANIMAL_KIND_CAT", number: "7" },
      "typed variables",
    ],
    [
      "GET",
      "/v1/kinds/2/animals/-7",
      undefined,
      { kind: "ANIMAL_KIND_SEA_LION", number: "-7" },
      "an enum's number",
    ],
    [
      "GET",
      "/v1/kinds/cat/animals/9007199254740993",
      undefined,
      { kind: "ANIMAL_KIND_CAT", number: "9007199254740993" },
      "beyond what a double holds",
    ],
    [
      "GET",
      "/v1/shelters/s/animals/a?flag=true",
      undefined,
      { name: "shelters/s/animals/a", flag: true },
      "both",
    ],
    [
      "GET",
      "/v1/animals/Leo?sub.sub.name=x",
      undefined,
      { name: "Leo", sub: { sub: { name: "x" } } },
      "a query",
    ],
    ["GET", "/v1/animals/Leo?name=Tom", undefined, { name: "Leo" }, "the query does not override the path"],
    ["GET", "/v1/files", undefined, {}, "** without a segment"],
    ["GET", "/v1/files/a/b%2Fc//d", undefined, { rest: "a/b%2Fc//d" }, "** with many"],
    [
      "PUT",
      "/v1/animals/Leo?dry_run=true",
      { age: 3 },
      { name: "Leo", dryRun: true, animal: { age: 3 } },
      "all three",
    ],
    ["PUT", "/v1/animals/Leo", undefined, { name: "Leo" }, "an empty body leaves its field unset"],
    ["PUT", "/v1/animals/Leo", "null", { name: "Leo" }, "and so does null"],
    [
      "PATCH",
      "/v1/animals/Leo",
      { name: "Tom", age: 3 },
      { animal: { name: "animals/Leo", age: 3 } },
      "the body does not override the path",
    ],
    [
      "POST",
      "/v1/animals/Leo:retag",
      ["a", "b"],
      { name: "Leo", tags: ["a", "b"] },
      "a repeated field as body",
    ],
    ["POST", "/v1/animals/Leo/tag", '"big"', { name: "Leo", tag: "big" }, "a scalar field as body"],
    ["POST", "/v1/animals/Leo:tag", { tag: "big" }, { name: "Leo", tag: "big" }, "the whole body"],
    [
      "POST",
      "/v1/animals/Leo:tag",
      { name: "Tom", tag: "x" },
      { name: "Leo", tag: "x" },
      "the path is stronger",
    ],
    ["POST", "/v1/animals/Leo:tag", undefined, { name: "Leo" }, "an empty body is an empty message"],
    ["LINK", "/v1/animals/Leo", { tag: "big" }, { name: "Leo", tag: "big" }, "a custom method"],
    ["PURGE", "/v1/any/x", undefined, { name: "x" }, "any method"],
    [
      "POST",
      "/v1/echo",
      { stringValue: "a", int32_value: 5 },
      { stringValue: "a", int32Value: 5 },
      "both spellings",
    ],
    ["POST", "/v1/echo", { nullValue: null, value: null }, { value: null }, "nulls that mean something"],
    [
      "GET",
      "/v1/echo?string_list=a&string_list=b",
      undefined,
      { stringList: ["a", "b"] },
      "an additional binding",
    ],
    [
      "POST",
      "/v1/struct",
      { a: [1, { b: null }] },
      { a: [1, { b: null }] },
      "a message with a JSON of its own",
    ],
  ])("%s %s %j", async (method, path, body, message, _why) => {
    const reply = await server.send(method, path, body);
    expect({ status: reply.status, seen }).toEqual({ status: 200, seen: [message] });
  });

  test.each<[given: JsonValue, why: string]>([
    ["sea_lion", "short"],
    ["SEA_LION", "short, in capitals"],
    ["ANIMAL_KIND_SEA_LION", "full"],
    [2, "number"],
  ])("an enum as %j, everywhere", async (kind, _why) => {
    const body = {
      enumValue: kind,
      enumList: [kind],
      boolKeys: { true: kind },
      nested: { choiceKind: kind },
      messageMap: { a: { enumValue: kind } },
      any: { "@type": "type.googleapis.com/zoo.v1.Animal", kind },
    };
    expect((await server.send("POST", "/v1/echo", body)).status).toBe(200);
    const name = "ANIMAL_KIND_SEA_LION";
    expect(seen).toEqual([
      {
        enumValue: name,
        enumList: [name],
        boolKeys: { true: name },
        nested: { choiceKind: name },
        messageMap: { a: { enumValue: name } },
        any: { "@type": "type.googleapis.com/zoo.v1.Animal", kind: name },
      },
    ]);
  });

  test("keys that JavaScript knows are plain data", async () => {
    const text = '{"__proto__":{"constructor":1},"constructor":{"__proto__":2}}';
    const reply = await server.send("POST", "/v1/struct", text);
    expect(reply.body.toString()).toBe(text);
    const map = '{"int32Map":{"__proto__":1,"constructor":2},"valueMap":{"__proto__":{"__proto__":null}}}';
    const echoed = (await server.send("POST", "/v1/echo", map)).body.toString();
    expect(echoed).toContain('"int32Map":{"__proto__":1,"constructor":2}');
    expect(echoed).toContain('"valueMap":{"__proto__":{"__proto__":null}}');
  });
});

describe("what the caller gets", () => {
  test("proto3 JSON with defaults, short enums and 64-bit integers as strings", async () => {
    const reply = await server.send("GET", "/v1/animals/Leo");
    expect(reply.headers["content-type"]).toBe("application/json");
    expect(reply.json).toEqual({
      name: "Leo",
      kind: "cat",
      age: 3,
      tags: [],
      labels: {},
      cubs: [],
      weightGrams: "5",
    });
  });

  test.each<[path: string, expected: JsonValue, why: string]>([
    [
      "/v1/animals",
      [expect.objectContaining({ name: "Leo" }), expect.objectContaining({ kind: "unspecified" })],
      "a list",
    ],
    ["/v1/animals:byName", { Leo: expect.objectContaining({ name: "Leo" }) }, "a map"],
    ["/v1/animals:nextPage", "n", "a scalar"],
  ])("%s answers with the field that response_body names", async (path, expected, _why) => {
    expect((await server.send("GET", path)).json).toEqual(expected);
  });

  test("a message field, and a well-known type, as the response", async () => {
    const put = await server.send("PUT", "/v1/animals/Leo", { age: 3 });
    expect(put.json).toMatchObject({ age: 3, kind: "unspecified" });
    const patched = await server.send("PATCH", "/v1/animals/Leo", {});
    expect(patched.json).toBe("1970-01-01T00:01:00Z");
    const unset = await server.send("PUT", "/v1/animals/Leo");
    expect(unset.json).toMatchObject({ name: "", kind: "unspecified" });
  });

  test("bytes of any type, through google.api.HttpBody", async () => {
    const bytes = Buffer.from([0, 255, 128, 123]);
    const uploaded = await server.send("POST", "/v1/uploads/cat.png", bytes, { "content-type": "image/png" });
    expect(uploaded.headers["content-type"]).toBe("image/png; of=cat.png");
    expect(uploaded.body).toEqual(bytes);
    const reflected = await server.send("POST", "/v1/reflect", bytes, { "content-type": "text/strange" });
    expect(reflected.headers["content-type"]).toBe("text/strange");
    expect(reflected.body).toEqual(bytes);
    const empty = await server.send("POST", "/v1/reflect");
    expect(empty.headers["content-type"]).toBe("application/octet-stream");
  });

  test("HEAD is GET without its body", async () => {
    const got = await server.send("GET", "/v1/animals/Leo");
    const head = await server.send("HEAD", "/v1/animals/Leo");
    expect(head.status).toBe(200);
    expect(head.body.length).toBe(0);
    expect(head.headers["content-length"]).toBe(String(got.body.length));
  });

  test("OPTIONS tells the methods, and asks no handler", async () => {
    const reply = await server.send("OPTIONS", "/v1/animals/Leo");
    expect(reply.status).toBe(204);
    expect(reply.headers.allow).toBe("GET, LINK, PATCH, PUT, HEAD, OPTIONS");
    expect(seen).toEqual([]);
  });

  test("enums under their full names, where the transcoder is told so", async () => {
    const proto = new ZooServer({ getAnimal: () => animal }, { enumNames: "proto" });
    await proto.start();
    try {
      expect((await proto.send("GET", "/v1/animals/Leo")).json).toMatchObject({ kind: "ANIMAL_KIND_CAT" });
    } finally {
      await proto.stop();
    }
  });
});
