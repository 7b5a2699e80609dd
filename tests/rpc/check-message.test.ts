import {
  create,
  createFileRegistry,
  type DescMessage,
  fromBinary,
  fromJson,
  fromJsonString,
  type JsonObject,
  type JsonValue,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import {
  FileDescriptorProtoSchema,
  file_google_protobuf_struct,
  file_google_protobuf_wrappers,
  ListValueSchema,
  StructSchema,
  ValueSchema,
} from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { defaultMessageLimits, findTextViolations } from "../../src/rpc/check-message.ts";
import { messagePlan } from "../../src/rpc/message-plan.ts";

const { Report, Idle } = describedMessages();
const nul = "must not contain NUL";
const surrogate = "must not contain lone surrogates";
const finite = "must be a finite number";
const deep = "must not be nested deeper than 32 levels";

describe("findTextViolations", () => {
  it.each<[string, () => Record<string, unknown>, string, string]>([
    ["a text", () => ({ message: "a\0b" }), "message", nul],
    ["a lone surrogate", () => ({ message: "a\ud800b" }), "message", surrogate],
    ["a reversed pair", () => ({ message: "\udc00\ud800" }), "message", surrogate],
    ["a name in snake case", () => ({ deviceInfo: "\0" }), "device_info", nul],
    ["a list of texts", () => ({ kinds: ["a", "\0"] }), "kinds[1]", nul],
    ["a map's value", () => ({ labels: { zone: "\0" } }), 'labels["zone"]', nul],
    ["a map's key", () => ({ labels: { "z\0": "a" } }), 'labels["z\\u0000"]', `key ${nul}`],
    ["a map's surrogate key", () => ({ flags: { "\udfff": true } }), 'flags["\\udfff"]', `key ${surrogate}`],
    [
      "a long key",
      () => ({ flags: { [`\0${"k".repeat(99)}`]: true } }),
      `flags["\\u0000${"k".repeat(63)}…"]`,
      `key ${nul}`,
    ],
    ["a nested message", () => ({ child: { child: { message: "\0" } } }), "child.child.message", nul],
    ["a list of messages", () => ({ children: [{}, { message: "\0" }] }), "children[1].message", nul],
    ["a map of messages", () => ({ named: { a: { message: "\0" } } }), 'named["a"].message', nul],
    ["a text in a oneof", () => ({ choice: { case: "word", value: "\0" } }), "word", nul],
    [
      "a message in a oneof",
      () => ({ choice: { case: "report", value: { message: "\0" } } }),
      "report.message",
      nul,
    ],
    ["a wrapped text", () => ({ wrapped: "\0" }), "wrapped", nul],
    ["NaN", () => ({ progress: Number.NaN }), "progress", finite],
    ["infinity", () => ({ progress: Number.POSITIVE_INFINITY }), "progress", finite],
    ["minus infinity, float", () => ({ ratio: Number.NEGATIVE_INFINITY }), "ratio", finite],
    ["a map of numbers", () => ({ gauges: { rate: Number.NaN } }), 'gauges["rate"]', finite],
    ["a wrapped number", () => ({ wrappedNumber: Number.NaN }), "wrapped_number", finite],
    ["a Struct's text", () => ({ context: { a: [1, 2, 3, { b: "\0" }] } }), "context.a[3].b", nul],
    ["a Struct's key", () => ({ context: { a: { "b\0": 1 } } }), 'context.a["b\\u0000"]', `key ${nul}`],
    ["a key that is no name", () => ({ context: { "a b": "\0" } }), 'context["a b"]', nul],
    [
      "__proto__",
      () => ({ context: JSON.parse('{"__proto__":{"x":"\\u0000"}}') }),
      "context.__proto__.x",
      nul,
    ],
    ["a Struct's number", () => ({ context: { a: Number.NaN } }), "context.a", finite],
    ["a list of Structs", () => ({ contexts: [{}, { a: "\0" }] }), "contexts[1].a", nul],
    ["a Value's text", () => ({ payload: fromJson(ValueSchema, { a: ["\0"] }) }), "payload.a[0]", nul],
    ["a bare Value", () => ({ payload: fromJson(ValueSchema, "\0") }), "payload", nul],
    [
      "a Value's key",
      () => ({ payload: fromJson(ValueSchema, { "\0": 1 }) }),
      'payload["\\u0000"]',
      `key ${nul}`,
    ],
    [
      "a Value's number",
      () => ({ payload: create(ValueSchema, { kind: { case: "numberValue", value: Number.NaN } }) }),
      "payload",
      finite,
    ],
    ["a ListValue", () => ({ items: fromJson(ListValueSchema, [1, ["\0"]]) }), "items[1][0]", nul],
    ["a Struct one level too deep", () => ({ context: nested(33) }), `context${".a".repeat(32)}`, deep],
    [
      "a Value one level too deep",
      () => ({ payload: fromJson(ValueSchema, nested(33)) }),
      `payload${".a".repeat(32)}`,
      deep,
    ],
    [
      "depth from the field's own root",
      () => ({ child: { child: { context: nested(33) } } }),
      `child.child.context${".a".repeat(32)}`,
      deep,
    ],
  ])("finds %s", (_, init, field, description) => {
    expect(findTextViolations(Report, create(Report, init()))).toEqual([{ field, description }]);
  });

  it("takes what is allowed, up to the last level", () => {
    const message = create(Report, {
      message: "\u0001 ä 😀 \ufffd \uffff",
      context: nested(32),
      payload: fromJson(ValueSchema, nested(32)),
      child: { child: { context: nested(32) } },
      progress: -1.5,
      gauges: { rate: Number.MAX_VALUE },
      raw: Uint8Array.of(0),
      labels: { "": "", constructor: "x" },
    });
    expect(findTextViolations(Report, message)).toEqual([]);
    expect(findTextViolations(Report, create(Report))).toEqual([]);
    expect(findTextViolations(Report, fromBinary(Report, toBinary(Report, message)))).toEqual([]);
  });

  it("finds the same in a message that was read from JSON or from bytes", () => {
    const message = fromJsonString(
      Report,
      '{"message":"a\\u0000","context":{"__proto__":{"k\\u0000":1}},"progress":"NaN"}',
    );
    const expected = [
      { field: "message", description: nul },
      { field: "progress", description: finite },
      { field: 'context.__proto__["k\\u0000"]', description: `key ${nul}` },
    ];
    expect(findTextViolations(Report, message)).toEqual(expected);
    expect(findTextViolations(Report, fromBinary(Report, toBinary(Report, message)))).toEqual(expected);
  });

  it("lists every violation, outer fields first, up to the limit", () => {
    const message = create(Report, {
      child: { message: "\0" },
      message: "\0\ud800",
      kinds: ["\0", "\0"],
    });
    expect(findTextViolations(Report, message).map(({ field }) => field)).toEqual([
      "message",
      "message",
      "kinds[0]",
      "kinds[1]",
      "child.message",
    ]);
    const limits = { ...defaultMessageLimits, violations: 3 };
    expect(findTextViolations(Report, message, limits)).toHaveLength(3);
  });

  it("looks into JSON that is a message of its own", () => {
    expect(findTextViolations(ValueSchema, fromJson(ValueSchema, ["\0"]))).toEqual([
      { field: "[0]", description: nul },
    ]);
    expect(findTextViolations(StructSchema, fromJson(StructSchema, { a: "\0" }))).toEqual([
      { field: "a", description: nul },
    ]);
  });

  it("goes to a depth where recursion would end", () => {
    let message: MessageShape<typeof Report> = create(Report, { message: "\0" });
    for (let level = 0; level < 50_000; level++) message = create(Report, { child: message });
    const [violation] = findTextViolations(Report, message);
    expect(violation?.description).toBe(nul);
    expect(violation?.field).toHaveLength("child.".length * 50_000 + "message".length);
    expect(findTextViolations(Report, create(Report, { context: nested(50_000) }))).toHaveLength(1);
  });

  it("finds what is planted in any JSON, and nothing in JSON without", () => {
    const anyJson = fc.jsonValue({ maxDepth: 5 }).map((value) => value as JsonValue);
    fc.assert(
      fc.property(anyJson, anyJson, (before, after) => {
        const clean: JsonObject = { list: [before, after] };
        const planted: JsonObject = { list: [before, { here: "\0" }, after] };
        for (const wrap of [
          (context: JsonObject) => create(Report, { context }),
          (context: JsonObject) => create(Report, { payload: fromJson(ValueSchema, context) }),
        ]) {
          expect(findTextViolations(Report, wrap(clean))).toEqual([]);
          expect(findTextViolations(Report, wrap(planted))).toEqual([
            { field: expect.stringMatching(/\.list\[1\]\.here$/), description: nul },
          ]);
        }
      }),
    );
  });
});

describe("messagePlan", () => {
  it("leaves out what can hold nothing wrong", () => {
    expect(messagePlan(Idle).checks).toEqual([]);
    expect(messagePlan(Report).checks.map(({ field }) => field.name)).not.toContain("idle");
    expect(messagePlan(Report).checks.map(({ field }) => field.name)).not.toContain("raw");
  });

  it("is made once", () => {
    expect(messagePlan(Report)).toBe(messagePlan(Report));
  });
});

function nested(levels: number): JsonObject {
  let value: JsonObject = {};
  for (let level = 1; level < levels; level++) value = { a: value };
  return value;
}

/** Messages with a field of every kind that matters, described here so that the test needs no generated code. */
function describedMessages() {
  const field = (name: string, number: number, type: string, more: JsonObject = {}): JsonObject => ({
    name,
    number,
    type,
    label: "LABEL_OPTIONAL",
    ...more,
  });
  const of = (typeName: string): JsonObject => ({ typeName });
  const repeated: JsonObject = { label: "LABEL_REPEATED" };
  const entry = (name: string, value: JsonObject): JsonObject => ({
    name,
    field: [field("key", 1, "TYPE_STRING"), value],
    options: { mapEntry: true },
  });
  const map = (name: string, number: number, entryName: string) =>
    field(name, number, "TYPE_MESSAGE", { ...repeated, ...of(`.test.Report.${entryName}`) });
  const file = fromJson(FileDescriptorProtoSchema, {
    name: "report.proto",
    package: "test",
    syntax: "proto3",
    dependency: [file_google_protobuf_struct.proto.name, file_google_protobuf_wrappers.proto.name],
    messageType: [
      {
        name: "Report",
        oneofDecl: [{ name: "choice" }],
        field: [
          field("message", 1, "TYPE_STRING"),
          field("device_info", 2, "TYPE_STRING"),
          field("kinds", 3, "TYPE_STRING", repeated),
          map("labels", 4, "LabelsEntry"),
          map("flags", 5, "FlagsEntry"),
          map("gauges", 6, "GaugesEntry"),
          map("named", 7, "NamedEntry"),
          field("child", 8, "TYPE_MESSAGE", of(".test.Report")),
          field("children", 9, "TYPE_MESSAGE", { ...repeated, ...of(".test.Report") }),
          field("word", 10, "TYPE_STRING", { oneofIndex: 0 }),
          field("report", 11, "TYPE_MESSAGE", { ...of(".test.Report"), oneofIndex: 0 }),
          field("progress", 12, "TYPE_DOUBLE"),
          field("ratio", 13, "TYPE_FLOAT"),
          field("wrapped", 14, "TYPE_MESSAGE", of(".google.protobuf.StringValue")),
          field("wrapped_number", 15, "TYPE_MESSAGE", of(".google.protobuf.DoubleValue")),
          field("context", 16, "TYPE_MESSAGE", of(".google.protobuf.Struct")),
          field("contexts", 17, "TYPE_MESSAGE", { ...repeated, ...of(".google.protobuf.Struct") }),
          field("payload", 18, "TYPE_MESSAGE", of(".google.protobuf.Value")),
          field("items", 19, "TYPE_MESSAGE", of(".google.protobuf.ListValue")),
          field("raw", 20, "TYPE_BYTES"),
          field("idle", 21, "TYPE_MESSAGE", of(".test.Idle")),
        ],
        nestedType: [
          entry("LabelsEntry", field("value", 2, "TYPE_STRING")),
          entry("FlagsEntry", field("value", 2, "TYPE_BOOL")),
          entry("GaugesEntry", field("value", 2, "TYPE_DOUBLE")),
          entry("NamedEntry", field("value", 2, "TYPE_MESSAGE", of(".test.Report"))),
        ],
      },
      {
        name: "Idle",
        field: [field("count", 1, "TYPE_INT64"), field("again", 2, "TYPE_MESSAGE", of(".test.Idle"))],
      },
    ],
  });
  const known = new Map(
    [file_google_protobuf_struct, file_google_protobuf_wrappers].map((desc) => [desc.proto.name, desc]),
  );
  const registry = createFileRegistry(file, (name) => known.get(name));
  return { Report: messageNamed("test.Report"), Idle: messageNamed("test.Idle") };

  function messageNamed(name: string): DescMessage {
    const desc = registry.getMessage(name);
    if (desc === undefined) throw new Error(`${name} is not described`);
    return desc;
  }
}
