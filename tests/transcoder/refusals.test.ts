import { gzipSync } from "node:zlib";
import type { JsonObject, JsonValue } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.js";
import { type Reply, ZooServer } from "./zoo-server.ts";

const MIB = 1024 * 1024;
const thrown = new Map<string, unknown>();
const server = new ZooServer({
  getAnimal: ({ name }) => {
    throw thrown.get(name);
  },
  tagAnimal: (request) => request,
  echo: (request) => request,
  echoStruct: (request) => request,
  putAnimal: ({ animal }) => ({ animal }),
  reflect: (request) => request,
});

beforeAll(() => server.start());
afterAll(() => server.stop());

/** The fields that a BadRequest names, sorted; the test fails if the answer is anything else. */
function violatedFields(reply: Reply): string[] {
  return violations(reply)
    .map(({ field = "" }) => field)
    .sort();
}

/** Their fields are left out where it is the whole request that is wrong. */
function violations(reply: Reply): { field?: string; description: string }[] {
  const { error } = reply.json as unknown as {
    error: { code: number; status: string; details: (JsonObject & { fieldViolations: never })[] };
  };
  expect(reply.status).toBe(400);
  expect(error).toMatchObject({ code: 400, status: "INVALID_ARGUMENT" });
  expect(error.details).toHaveLength(1);
  expect(error.details[0]?.["@type"]).toBe("type.googleapis.com/google.rpc.BadRequest");
  return error.details[0]?.fieldViolations ?? [];
}

function nested(levels: number): string {
  return `${'{"a":'.repeat(levels - 1)}{}${"}".repeat(levels - 1)}`;
}

describe("a body that is refused", () => {
  test.each<[body: string, fields: string[], why: string]>([
    ["{", [""], "no JSON"],
    ["{}x", [""], "more than JSON"],
    ["[]", [""], "no object"],
    ["null", [""], "no object"],
    ["5", [""], "no object"],
    ["{'stringValue': 1}", [""], "not quite JSON"],
    ['{"nothing":1}', ["nothing"], "an unknown field"],
    ['{"__proto__":{}}', ["__proto__"], "unknown like another"],
    ['{"nested":{"messageList":[{},{"x y":1}]}}', ['nested.messageList[1]["x y"]'], "its path"],
    ['{"messageMap":{"k":{"nothing":1}}}', ["messageMap.k.nothing"], "its path through a map"],
    ['{"stringValue":"a","stringValue":"b"}', ["stringValue"], "a key given twice"],
    [
      '{"stringValue":"a","string\\u0056alue":"b"}',
      ["stringValue"],
      "also when it is spelled with an escape",
    ],
    ['{"struct":{"a":{"b":1,"b":1}}}', ["struct.a.b"], "also inside a Struct"],
    ['{"stringValue":"a","string_value":"b"}', ["string_value"], "one field by both names"],
    ['{"choiceText":"a","choiceNumber":1}', ["choiceNumber"], "two members of a oneof"],
    ['{"int64Value":9007199254740993}', ["int64Value"], "an integer that a double does not hold"],
    ['{"struct":{"a":1e999}}', ["struct.a"], "a number that would become infinite"],
    [`{"doubleValue":1${"0".repeat(400)}}`, ["doubleValue"], "another"],
    ['{"int32List":[1,12345678901234567890]}', ["int32List[1]"], "in a list"],
    ['{"struct":{"a":[0,-9007199254740993]}}', ["struct.a[1]"], "also where any JSON is allowed"],
    ['{"struct":{"a":123456789012345678901234567890}}', ["struct.a"], "a long one"],
    ['{"stringValue":"a\\u0000"}', ["stringValue"], "NUL"],
    ['{"struct":{"a\\u0000":1}}', ['struct["a\\u0000"]'], "NUL in a key"],
    ['{"stringValue":"\\ud800"}', ["stringValue"], "half a surrogate pair"],
    ['{"stringValue":"\\udc00\\ud800"}', ["stringValue"], "two halves the wrong way round"],
    ['{"stringList":["a","\\ud800x"]}', ["stringList[1]"], "in a list"],
    ['{"int32Map":{"\\udfff":1}}', ['int32Map["\\udfff"]'], "in the key of a map"],
    ['{"int32Value":"0x10"}', ["int32Value"], "spelled as no JSON number is"],
    ['{"int64Value":" 5"}', ["int64Value"], "spelled with a space"],
    ['{"int32Value":1.5}', ["int32Value"], "a fraction"],
    ['{"boolValue":"true"}', ["boolValue"], "a string for a boolean"],
    ['{"stringValue":5}', ["stringValue"], "a number for a string"],
    ['{"bytesValue":"a b"}', ["bytesValue"], "no base64"],
    ['{"enumValue":"lion"}', ["enumValue"], "no such value"],
    ['{"duration":"1sooner"}', ["duration"], "more than a duration"],
    ['{"timestamp":"2023-02-29T00:00:00Z"}', ["timestamp"], "no such day"],
    ['{"any":{"@type":"nothing.Known"}}', ["any"], "an unknown type"],
    ['{"int32List":[1,"x",null]}', ["int32List[1]", "int32List[2]"], "items of a list"],
    ['{"int32List":5,"int32Map":[]}', ["int32List", "int32Map"], "no list, no map"],
    ['{"int32Map":{"a":1,"b":"x"}}', ["int32Map.b"], "a value of a map"],
    ['{"int64Keys":{"a":"x"}}', ["int64Keys.a"], "a key of a map"],
    ['{"nested":5}', ["nested"], "no message"],
    [
      '{"nothing":1,"int32Value":"x","nested":{"boolValue":1,"stringValue":"\\u0000"},"enumList":["cat","dog"]}',
      ["enumList[1]", "int32Value", "nested.boolValue", "nested.stringValue", "nothing"],
      "every violation at once",
    ],
  ])("%s", async (body, fields, _why) => {
    expect(violatedFields(await server.send("POST", "/v1/echo", body))).toEqual(fields);
  });

  test("is refused by the path of the field that it is bound to", async () => {
    const reply = await server.send("PUT", "/v1/animals/Leo", '{"cubs":[{"x":1,"name":"\\u0000"}]}');
    expect(violatedFields(reply)).toEqual(["animal.cubs[0].name", "animal.cubs[0].x"]);
  });

  test("64 levels are taken, 65 are not, a million cost nothing", async () => {
    expect((await server.send("POST", "/v1/struct", nested(64))).status).toBe(200);
    expect(violatedFields(await server.send("POST", "/v1/struct", nested(65)))).toEqual([""]);
    expect(violatedFields(await server.send("POST", "/v1/struct", "[".repeat(MIB)))).toEqual([""]);
    expect(violatedFields(await server.send("POST", "/v1/struct", '{"a":'.repeat(200_000)))).toEqual([""]);
  });

  test("bytes that are not UTF-8", async () => {
    const body = Buffer.concat([Buffer.from('{"stringValue":"'), Buffer.from([0xff]), Buffer.from('"}')]);
    expect(violatedFields(await server.send("POST", "/v1/echo", body))).toEqual([""]);
  });

  test("a double takes integers of any size, since that is how it is printed", async () => {
    const body =
      '{"doubleValue":123456789012345680000,"doubleWrapper":-9007199254740994,"nested":{"floatValue":36893488147419103232}}';
    const reply = await server.send("POST", "/v1/echo", body);
    expect(reply.json).toMatchObject({
      doubleValue: 123456789012345680000,
      doubleWrapper: -9007199254740994,
      nested: { floatValue: 2 ** 65 },
    });
  });

  test("an integer of exactly 2^53 is taken, and any as a string", async () => {
    const body = '{"int64Value":-9007199254740992,"uint64Value":"18446744073709551615","doubleValue":1e300}';
    expect((await server.send("POST", "/v1/echo", body)).json).toMatchObject({
      int64Value: "-9007199254740992",
      uint64Value: "18446744073709551615",
      doubleValue: 1e300,
    });
  });

  test("one where none is taken", async () => {
    const [violation] = violations(await server.send("GET", "/v1/animals/Leo", {}));
    expect(violation?.description).toMatch(/takes no body/);
  });

  test("a query where the body carries every field, or that one", async () => {
    expect(violatedFields(await server.send("POST", "/v1/animals/Leo:tag?tag=x", {}))).toEqual(["tag"]);
    expect(violatedFields(await server.send("PUT", "/v1/animals/Leo?animal.age=3", {}))).toEqual([
      "animal.age",
    ]);
  });

  test("path, query and body list their violations together", async () => {
    const reply = await server.send("PUT", "/v1/animals/%00?dry_run=yes", { nothing: 1 });
    expect(violatedFields(reply)).toEqual(["animal.nothing", "dry_run", "name"]);
  });

  test("a path variable of the wrong type", async () => {
    const reply = await server.send("GET", "/v1/kinds/lion/animals/x");
    expect(violatedFields(reply)).toEqual(["kind", "number"]);
  });
});

describe("sizes", () => {
  const filled = (bytes: number): string => `{"stringValue":"${"x".repeat(bytes - 18)}"}`;

  test("one MiB is taken, one byte more is not", async () => {
    expect((await server.send("POST", "/v1/echo", filled(MIB))).status).toBe(200);
    const reply = await server.send("POST", "/v1/echo", filled(MIB + 1));
    expect(reply.status).toBe(413);
    expect(reply.json).toMatchObject({ error: { code: 413, status: "RESOURCE_EXHAUSTED" } });
  });

  test("also where the length is not announced", async () => {
    const chunked = { "transfer-encoding": "chunked" };
    expect((await server.send("POST", "/v1/echo", filled(MIB), chunked)).status).toBe(200);
    expect((await server.send("POST", "/v1/echo", filled(MIB + 1), chunked)).status).toBe(413);
  });

  test("counted after decompression", async () => {
    const gzip = { "content-encoding": "gzip" };
    expect((await server.send("POST", "/v1/echo", gzipSync(filled(MIB)), gzip)).status).toBe(200);
    expect((await server.send("POST", "/v1/echo", gzipSync(filled(MIB + 1)), gzip)).status).toBe(413);
    const bomb = gzipSync(Buffer.alloc(200 * MIB));
    expect((await server.send("POST", "/v1/echo", bomb, gzip)).status).toBe(413);
  });
});

describe("content types and encodings", () => {
  test.each<[type: string, status: number]>([
    ["application/json", 200],
    ["application/json; charset=utf-8", 200],
    ['Application/JSON;charset="UTF-8"', 200],
    ["application/merge-patch+json", 200],
    ["application/json; charset=latin1", 415],
    ["application/x-www-form-urlencoded", 415],
    ["text/plain", 415],
    ["application/x-ndjson", 415],
    ["json", 415],
  ])("%s: %i", async (type, status) => {
    expect((await server.send("POST", "/v1/echo", "{}", { "content-type": type })).status).toBe(status);
  });

  test("an empty body has no content, whatever its type", async () => {
    expect((await server.send("POST", "/v1/echo", "", { "content-type": "text/plain" })).status).toBe(200);
  });

  test("an unknown encoding is UNIMPLEMENTED, a corrupt body INVALID_ARGUMENT", async () => {
    const unknown = await server.send("POST", "/v1/echo", "{}", { "content-encoding": "zstd" });
    expect(unknown.json).toMatchObject({ error: { code: 501, status: "UNIMPLEMENTED" } });
    const corrupt = await server.send("POST", "/v1/echo", "{}", { "content-encoding": "gzip" });
    expect(corrupt.json).toMatchObject({ error: { code: 400, status: "INVALID_ARGUMENT" } });
  });
});

describe("paths and methods", () => {
  test("no route: the caller of the transcoder answers", async () => {
    const reply = await server.send("GET", "/v2");
    expect(reply.status).toBe(404);
    expect(reply.headers["x-written-by"]).toBe("the caller");
  });

  test("another method: 405 with Allow and an error body", async () => {
    const reply = await server.send("DELETE", "/v1/animals/Leo");
    expect(reply.status).toBe(405);
    expect(reply.headers.allow).toBe("GET, LINK, PATCH, PUT, HEAD, OPTIONS");
    expect(reply.json).toMatchObject({ error: { code: 405, status: "UNIMPLEMENTED" } });
  });

  test("a malformed escape: 400", async () => {
    const reply = await server.send("GET", "/v1/animals/%ff");
    expect(reply.json).toMatchObject({ error: { code: 400, status: "INVALID_ARGUMENT" } });
  });

  test("a method without an implementation: 501", async () => {
    const reply = await server.send("GET", "/v1/files/x");
    expect(reply.json).toMatchObject({ error: { code: 501, status: "UNIMPLEMENTED" } });
  });
});

describe("what a handler throws", () => {
  const STATUSES: [Code, number, string][] = [
    [Code.Canceled, 499, "CANCELLED"],
    [Code.Unknown, 500, "UNKNOWN"],
    [Code.InvalidArgument, 400, "INVALID_ARGUMENT"],
    [Code.DeadlineExceeded, 504, "DEADLINE_EXCEEDED"],
    [Code.NotFound, 404, "NOT_FOUND"],
    [Code.AlreadyExists, 409, "ALREADY_EXISTS"],
    [Code.PermissionDenied, 403, "PERMISSION_DENIED"],
    [Code.ResourceExhausted, 429, "RESOURCE_EXHAUSTED"],
    [Code.FailedPrecondition, 400, "FAILED_PRECONDITION"],
    [Code.Aborted, 409, "ABORTED"],
    [Code.OutOfRange, 400, "OUT_OF_RANGE"],
    [Code.Unimplemented, 501, "UNIMPLEMENTED"],
    [Code.Internal, 500, "INTERNAL"],
    [Code.Unavailable, 503, "UNAVAILABLE"],
    [Code.DataLoss, 500, "DATA_LOSS"],
    [Code.Unauthenticated, 401, "UNAUTHENTICATED"],
  ];

  test.each(STATUSES)("code %i is HTTP %i, %s", async (code, status, name) => {
    thrown.set("x", new ConnectError("so it is", code));
    const reply = await server.send("GET", "/v1/animals/x");
    expect(reply.status).toBe(status);
    expect(reply.json).toEqual({ error: { code: status, status: name, message: "so it is", details: [] } });
    expect(reply.headers["www-authenticate"]).toBe(status === 401 ? "Bearer" : undefined);
  });

  test("details come in proto3 JSON, and RetryInfo as Retry-After", async () => {
    thrown.set(
      "detailed",
      new ConnectError("no", Code.ResourceExhausted, { "x-meta": "data" }, [
        { desc: ErrorInfoSchema, value: { reason: "TOO_MUCH", domain: "zoo", metadata: { a: "b" } } },
        { desc: RetryInfoSchema, value: { retryDelay: { seconds: 1n, nanos: 500_000_000 } } },
        { desc: BadRequestSchema, value: { fieldViolations: [{ field: "a.b", description: "bad" }] } },
      ]),
    );
    const reply = await server.send("GET", "/v1/animals/detailed");
    expect(reply.headers).toMatchObject({ "retry-after": "2", "x-meta": "data" });
    const type = (name: string): JsonObject => ({ "@type": `type.googleapis.com/google.rpc.${name}` });
    const expected: JsonValue = [
      { ...type("ErrorInfo"), reason: "TOO_MUCH", domain: "zoo", metadata: { a: "b" } },
      { ...type("RetryInfo"), retryDelay: "1.500s" },
      { ...type("BadRequest"), fieldViolations: [{ field: "a.b", description: "bad" }] },
    ];
    expect(reply.json).toMatchObject({ error: { details: expected } });
  });

  test("what is no ConnectError shows nothing of itself, and is reported", async () => {
    const secret = new Error("the password is 1234");
    thrown.set("fault", secret);
    const reply = await server.send("GET", "/v1/animals/fault");
    expect(reply.status).toBe(500);
    expect(reply.body.toString()).not.toContain("1234");
    expect(server.faults).toEqual([secret]);
  });
});
