import { brotliCompressSync, gzipSync } from "node:zlib";
import fc from "fast-check";
import { zooMessage } from "../transcoder/protos.ts";
import { messageJson } from "./message-json.ts";

/** Pieces that mean something somewhere, so that chance puts them where they hurt. */
const PATH_PIECES = [
  ..."/:*?&=%{}.,;@+-_~aZ0",
  "/v1",
  "/v1/animals",
  "/animals",
  "/shelters",
  "/kinds",
  "/files",
  "/echo",
  "/any",
  "/struct",
  "/reflect",
  "/uploads",
  "/download",
  ":tag",
  ":retag",
  ":watch",
  ":weigh",
  ":byName",
  "**",
  "..",
  "%2F",
  "%2f",
  "%3A",
  "%00",
  "%ff",
  "%e4%b8%80",
  "%ed%a0%80",
  "%c0%af",
  "cat",
  "ANIMAL_KIND_CAT",
  "18446744073709551616",
  "__proto__",
  "constructor",
];

const QUERY_PIECES = [
  ..."=&%+.;[]aZ0-",
  "string_value",
  "stringValue",
  "int32_value",
  "int64_value=",
  "uint64Value=",
  "double_value=",
  "bytes_value=",
  "enum_value=",
  "timestamp=",
  "duration=",
  "field_mask=",
  "string_wrapper=",
  "int64_wrapper=",
  "nested.",
  "choice_text=",
  "choice_message.",
  "int32_list=",
  "struct=",
  "any=",
  "int32_map",
  "2024-02-30T00:00:00Z",
  "-1",
  "1e400",
  "9223372036854775808",
  "NaN",
  "Infinity",
  "1.5s",
  "cat",
  "a_b,c.d",
  "%00",
  "%ff",
  "%E4%B8%80",
  "__proto__",
  "toString",
];

const KEYS = [
  "name",
  "kind",
  "tag",
  "tags",
  "labels",
  "mother",
  "cubs",
  "notes",
  "weightGrams",
  "weight_grams",
  "int32Value",
  "int64Value",
  "bytesValue",
  "enumValue",
  "timestamp",
  "duration",
  "fieldMask",
  "struct",
  "value",
  "list",
  "any",
  "@type",
  "nested",
  "messageList",
  "messageMap",
  "int64Keys",
  "boolKeys",
  "choiceText",
  "choiceMessage",
  "nullValue",
  "__proto__",
  "toString",
  "",
  "[zoo.v1.x]",
];

const LEAVES = [
  "null",
  "true",
  "0",
  "-0",
  "1e999",
  "123456789012345678901234567890",
  "9007199254740993",
  "1.5",
  '"cat"',
  '"1"',
  '"\\u0000"',
  '"\\ud800"',
  '"\\u0041"',
  '"a\\""',
  '"type.googleapis.com/zoo.v1.Animal"',
  '"google.protobuf.Any"',
  '"2024-02-29T00:00:00Z"',
  '"1.5s"',
  '"YQ=="',
  "tru",
  '"',
  "'a'",
  "01",
  "\u2028",
];

export const pathNoise = fc
  .array(fc.constantFrom(...PATH_PIECES), { maxLength: 12 })
  .map((all) => all.join(""));

export const queryNoise = fc
  .array(fc.constantFrom(...QUERY_PIECES), { maxLength: 16 })
  .map((all) => all.join(""));

export const templateNoise = fc.oneof(
  pathNoise,
  fc.string({ unit: fc.constantFrom(..."/{}=*:.%2Fab_"), maxLength: 30 }),
  fc.string({ maxLength: 20 }),
);

/** JSON text, more often right than wrong, with keys that the messages know. */
const jsonText: fc.Arbitrary<string> = fc.letrec<{ json: string }>((tie) => ({
  json: fc.oneof(
    { maxDepth: 5, withCrossShrink: true },
    { weight: 3, arbitrary: fc.constantFrom(...LEAVES) },
    { weight: 1, arbitrary: fc.string({ maxLength: 8 }).map((text) => JSON.stringify(text)) },
    { weight: 3, arbitrary: fc.array(tie("json"), { maxLength: 4 }).map((items) => `[${items.join(",")}]`) },
    {
      weight: 5,
      arbitrary: fc
        .array(fc.tuple(fc.constantFrom(...KEYS), tie("json")), { maxLength: 5 })
        .map((members) => `{${members.map(([key, value]) => `${JSON.stringify(key)}: ${value}`).join(",")}}`),
    },
  ),
})).json;

const deep = fc
  .tuple(
    fc.constantFrom("[", '{"nested":', '{"value":', '{"struct":{"a":', '{"messageList":['),
    fc.integer({ min: 1, max: 3000 }),
  )
  .map(([opening, levels]) => opening.repeat(levels));

const noise = fc.oneof(
  { weight: 6, arbitrary: jsonText.map((json) => Buffer.from(json)) },
  { weight: 1, arbitrary: deep.map((json) => Buffer.from(json)) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)) },
  { weight: 2, arbitrary: fc.constant(Buffer.alloc(0)) },
);

const HEADERS: fc.Arbitrary<string>[] = [
  fc
    .constantFrom(
      "application/json",
      "application/json; charset=utf-8",
      "application/x-ndjson",
      "text/plain",
      ";;",
      "a/b+json",
    )
    .map((value) => `content-type: ${value}`),
  fc
    .constantFrom(
      "*/*",
      "text/event-stream",
      "application/json",
      "application/x-ndjson;q=0",
      "a,;q=,/",
      ",,,",
    )
    .map((value) => `accept: ${value}`),
  fc
    .constantFrom("gzip", "br;q=0.5, gzip;q=0", "*", "*;q=0", "identity", ";q=")
    .map((value) => `accept-encoding: ${value}`),
  fc
    .tuple(
      fc.constantFrom("grpc-timeout", "connect-timeout-ms", "x-server-timeout"),
      fc.constantFrom("1H", "99999999H", "100000", "5000.5", "-1", "x", ""),
    )
    .map(([name, value]) => `${name}: ${value}`),
  fc
    .string({ unit: fc.constantFrom(...'abc\u00e9\u0080\t ;,="'), maxLength: 10 })
    .map((value) => `x-noise: ${value}`),
  fc.constantFrom(
    "connection: close",
    "connection: x-noise, keep-alive",
    "te: trailers",
    "host: ",
    "host: a b",
    "expect: 100-continue",
  ),
];

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "LINK", "PURGE"];

interface Call {
  method: string;
  target: string;
  body: Buffer;
}

const anywhere: fc.Arbitrary<Call> = fc.record({
  method: fc.constantFrom(...METHODS),
  target: fc.oneof(
    fc.tuple(pathNoise, queryNoise).map(([path, query]) => `/v1/${path}?${query}`),
    queryNoise.map((query) => `/v1/echo?${query}`),
    pathNoise,
  ),
  body: noise,
});

/** A call of a route, with a body of the message that it takes, or nearly. */
function callOf(method: string, target: string, message: string | undefined): fc.Arbitrary<Call> {
  if (message === undefined) {
    return queryNoise.map((query) => ({ method, target: `${target}${query}`, body: Buffer.alloc(0) }));
  }
  const right = messageJson(zooMessage(message), 2).map((json) => Buffer.from(JSON.stringify(json)));
  const nearly = fc
    .tuple(right, fc.nat(), fc.constantFrom(...'",:{}[]\\0-e\u0000'))
    .map(([bytes, place, character]) => {
      const copy = Buffer.from(bytes);
      copy.write(character, place % copy.length);
      return copy;
    });
  const body = fc.oneof(
    { weight: 3, arbitrary: right },
    { weight: 2, arbitrary: nearly },
    { weight: 1, arbitrary: noise },
  );
  return body.map((bytes) => ({ method, target, body: bytes }));
}

const somewhere: fc.Arbitrary<Call> = fc.oneof(
  { weight: 6, arbitrary: callOf("POST", "/v1/echo", "Everything") },
  callOf("GET", "/v1/echo?", undefined),
  callOf("GET", "/v1/animals?", undefined),
  callOf("GET", "/v1/kinds/cat/animals/5?", undefined),
  callOf("GET", "/v1/files/a/b?", undefined),
  callOf("HEAD", "/v1/animals/a?", undefined),
  callOf("GET", "/v1/animals:watch?count=3&", undefined),
  callOf("GET", "/v1/download?count=2&", undefined),
  callOf("POST", "/v1/struct", "Everything"),
  callOf("PUT", "/v1/animals/a?dryRun=true", "Animal"),
  callOf("PATCH", "/v1/animals/a", "Animal"),
  callOf("POST", "/v1/animals/a:tag", "TagRequest"),
  callOf("POST", "/v1/animals:weigh", "Animal"),
  callOf("LINK", "/v1/animals/a", "TagRequest"),
  callOf("POST", "/v1/uploads/a", "Animal"),
  callOf("POST", "/v1/reflect", "Animal"),
);

export interface FuzzedRequest {
  method: string;
  bytes: Buffer;
}

/** Most requests have few headers: one that is wrong hides what else is. */
function seldom(header: fc.Arbitrary<string>): fc.Arbitrary<string | null> {
  return fc.oneof({ weight: 6, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: header });
}

/** Requests that HTTP itself is happy with, however odd what they carry. */
export const requests: fc.Arbitrary<FuzzedRequest> = fc
  .record({
    call: fc.oneof({ weight: 1, arbitrary: anywhere }, { weight: 4, arbitrary: somewhere }),
    headers: fc.tuple(...HEADERS.map(seldom)),
    coding: fc.constantFrom(...Array<string>(12).fill(""), "gzip", "br", "x-gzip", "deflate", "lies"),
  })
  .map(({ call: { method, target, body: plain }, headers, coding }) => {
    const path = target.replace(/\s/g, "");
    const content = coding.endsWith("gzip")
      ? gzipSync(plain)
      : coding === "br"
        ? brotliCompressSync(plain)
        : plain;
    const named = coding === "lies" ? "gzip" : coding;
    const lines = [
      `${method} ${path === "" ? "/" : path} HTTP/1.1`,
      ...headers.filter((header) => header !== null),
      ...(headers.some((header) => header?.startsWith("host:")) ? [] : ["host: zoo"]),
      ...(named === "" ? [] : [`content-encoding: ${named}`]),
      `content-length: ${content.length}`,
      "\r\n",
    ];
    return { method, bytes: Buffer.concat([Buffer.from(lines.join("\r\n"), "latin1"), content]) };
  });

/** Bytes that may be no HTTP at all. */
export const rawBytes: fc.Arbitrary<Buffer> = fc.oneof(
  fc.uint8Array({ minLength: 1, maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
  fc
    .tuple(requests, fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 4 }))
    .map(([{ bytes }, place, noise]) => {
      const at = place % bytes.length;
      return Buffer.concat([bytes.subarray(0, at), noise, bytes.subarray(at + noise.length)]);
    }),
);
