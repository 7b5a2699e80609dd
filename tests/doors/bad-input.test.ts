import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { serve } from "../../src/doors/door.ts";
import { EchoRequestSchema, EchoService } from "../helpers/echo-service.ts";
import { type OpenDoors, openDoors } from "../helpers/every-door.ts";
import { http2Request, sendHttp2Bytes } from "../helpers/raw-http2.ts";
import { envelope, RAW_WAYS, type RawCall, type RawWay, rawCall } from "../helpers/raw-rpc.ts";

let doors: OpenDoors;
const credentials: (string | null)[] = [];

/** As the kernel's own: a credential that is no single Bearer token is refused. */
const authenticate: Interceptor = (next) => async (request) => {
  const credential = request.header.get("authorization");
  credentials.push(credential);
  if (credential !== null && !/^Bearer \w+$/.test(credential)) {
    throw new ConnectError("not authenticated", Code.Unauthenticated);
  }
  return next(request);
};

beforeAll(async () => {
  const echo = serve(EchoService, { say: ({ text, data }) => ({ text, count: data.length }) });
  doors = await openDoors({ services: [echo], interceptors: [authenticate] });
});
afterAll(() => doors.stop());

const isJson = (way: RawWay) => way.startsWith("Connect JSON");
const isFramed = (way: RawWay) => !way.startsWith("Connect");

function messageFor(way: RawWay, fields: { text?: string; dataLength?: number }): Uint8Array {
  const data = new Uint8Array(fields.dataLength ?? 0);
  return isJson(way)
    ? Buffer.from(JSON.stringify({ text: fields.text ?? "", data: Buffer.from(data).toString("base64") }))
    : toBinary(EchoRequestSchema, create(EchoRequestSchema, { text: fields.text ?? "", data }));
}

const codeOfCalls = (way: RawWay) => async (call: Partial<RawCall>) =>
  (await rawCall(way, doors, { message: messageFor(way, { text: "ok" }), ...call })).code;

describe.each(RAW_WAYS)("%s", (way) => {
  const codeOf = codeOfCalls(way);

  test("a good call succeeds", async () => {
    expect(await codeOf({})).toBe(0);
  });

  test("bytes that are no message are INVALID_ARGUMENT", async () => {
    const malformed = isJson(way) ? Buffer.from('{"text":') : Buffer.from([0x0a, 0xff, 0x01, 0x41]);
    expect(await codeOf({ message: malformed })).toBe(Code.InvalidArgument);
  });

  test("invalid UTF-8 is INVALID_ARGUMENT", async () => {
    const message = isJson(way)
      ? Buffer.concat([Buffer.from('{"text":"a'), Buffer.from([0xff]), Buffer.from('"}')])
      : Buffer.from([0x0a, 2, 0x61, 0xff]);
    expect(await codeOf({ message })).toBe(Code.InvalidArgument);
  });

  test("a message that nests too deep is INVALID_ARGUMENT, however deep", async () => {
    for (const levels of [200, 100_000]) {
      const message = isJson(way)
        ? Buffer.from(`{"value":${"[".repeat(levels)}${"]".repeat(levels)}}`)
        : deepValue(Math.min(levels, 40_000));
      expect(await codeOf({ message })).toBe(Code.InvalidArgument);
    }
  });

  test("sixty levels of JSON go through", async () => {
    const levels = 60;
    const message = isJson(way)
      ? Buffer.from(`{"value":${"[".repeat(levels)}${"]".repeat(levels)}}`)
      : deepValue(levels);
    expect(await codeOf({ message })).toBe(0);
  });

  test("unknown fields are ignored", async () => {
    const message = isJson(way)
      ? Buffer.from('{"text":"ok","novel":1}')
      : Buffer.from([0x0a, 1, 0x61, 0xf8, 0x7f, 1]);
    expect(await codeOf({ message })).toBe(0);
  });

  test("gzip is read", async () => {
    expect(await codeOf({ message: gzipSync(messageFor(way, { text: "ok" })), encoding: "gzip" })).toBe(0);
  });

  test("a second encoding is read", async () => {
    const message = messageFor(way, { text: "ok" });
    const call =
      way === "native gRPC"
        ? { message: deflateSync(message), encoding: "deflate" }
        : { message: brotliCompressSync(message), encoding: "br" };
    expect(await codeOf(call)).toBe(0);
  });

  test("a gzip bomb is RESOURCE_EXHAUSTED", async () => {
    const bomb = gzipSync(messageFor(way, { dataLength: 20 * 1024 * 1024 }));
    expect(bomb.length).toBeLessThan(100_000);
    expect(await codeOf({ message: bomb, encoding: "gzip" })).toBe(Code.ResourceExhausted);
  });

  test("bytes that do not decompress are INVALID_ARGUMENT", async () => {
    const good = gzipSync(messageFor(way, { text: "ok".repeat(1000) }));
    expect(await codeOf({ message: Buffer.from("no gzip at all"), encoding: "gzip" })).toBe(
      Code.InvalidArgument,
    );
    expect(await codeOf({ message: good.subarray(0, good.length - 10), encoding: "gzip" })).toBe(
      Code.InvalidArgument,
    );
  });

  test("an unknown encoding is UNIMPLEMENTED", async () => {
    expect(await codeOf({ encoding: "snappy" })).toBe(Code.Unimplemented);
  });

  test("a malformed timeout is INVALID_ARGUMENT", async () => {
    for (const timeout of ["soon", "-1", isFramed(way) ? "5" : "12345678901"]) {
      expect(await codeOf({ timeout })).toBe(Code.InvalidArgument);
    }
  });

  test("a size over the cap is RESOURCE_EXHAUSTED, also when it is only announced", async () => {
    expect(await codeOf({ message: messageFor(way, { dataLength: 1024 * 1024 }) })).toBe(
      Code.ResourceExhausted,
    );
    if (!isFramed(way)) return;
    const announced = envelope(0, messageFor(way, {}));
    announced.writeUInt32BE(0xffff_ffff, 1);
    expect(await codeOf({ body: announced })).toBe(Code.ResourceExhausted);
  });

  test("two authorization headers are UNAUTHENTICATED", async () => {
    credentials.length = 0;
    await sendTwoCredentials(way);
    // Documented: Node keeps the first, and grpc-js shows no other.
    expect(credentials).toEqual([way === "native gRPC" ? "Bearer one" : "Bearer one, Bearer two"]);
  });

  test("an unknown method is UNIMPLEMENTED or 404", async () => {
    const answer = await rawCall(way, doors, {
      message: messageFor(way, {}),
      path: "/tests.v1.EchoService/Nothing",
    });
    if (isFramed(way)) {
      expect(answer.code).toBe(Code.Unimplemented);
    } else {
      expect(answer.httpStatus).toBe(404);
      expect(JSON.parse(answer.text)).toEqual({
        error: { code: 404, status: "NOT_FOUND", message: expect.any(String), details: [] },
      });
    }
  });

  test("a content type that no protocol has is 415", async () => {
    const answer = await rawCall(way, doors, { message: messageFor(way, {}), contentType: "text/plain" });
    expect(answer.httpStatus).toBe(415);
  });
});

describe.each(RAW_WAYS.filter(isFramed))("framed: %s", (way) => {
  const codeOf = codeOfCalls(way);

  test("a frame cut short is refused", async () => {
    const whole = envelope(0, messageFor(way, { text: "hello" }));
    const code = await codeOf({ body: whole.subarray(0, whole.length - 2) });
    // Documented: to grpc-js such a frame is no message at all.
    expect(code).toBe(way === "native gRPC" ? Code.Unimplemented : Code.InvalidArgument);
  });

  test("no message and two messages are UNIMPLEMENTED", async () => {
    const one = envelope(0, messageFor(way, { text: "ok" }));
    expect(await codeOf({ body: Buffer.alloc(0) })).toBe(Code.Unimplemented);
    expect(await codeOf({ body: Buffer.concat([one, one]) })).toBe(Code.Unimplemented);
  });

  test("a compressed frame without an encoding is INVALID_ARGUMENT", async () => {
    const body = envelope(1, gzipSync(messageFor(way, { text: "ok" })));
    expect(await codeOf({ body })).toBe(Code.InvalidArgument);
  });
});

describe.each(RAW_WAYS.filter((way) => way !== "native gRPC"))("on the web port: %s", (way) => {
  const codeOf = codeOfCalls(way);

  test("a timeout longer than any timer does not pass at once", async () => {
    expect(await codeOf({ timeout: isFramed(way) ? "1000H" : "9999999999" })).toBe(0);
  });

  test("another method than POST is 405 and tells which", async () => {
    for (const method of ["GET", "PUT", "DELETE"]) {
      const answer = await rawCall(way, doors, { message: messageFor(way, {}), method });
      expect(answer.httpStatus).toBe(405);
      expect(answer.headers.allow).toBe("POST");
      expect(JSON.parse(answer.text)).toMatchObject({ error: { code: 405, status: "UNIMPLEMENTED" } });
    }
  });
});

test("a bidirectional stream over HTTP/1.1 is 505", async () => {
  const answer = await rawCall("Connect JSON over HTTP/1.1", doors, {
    message: envelope(0, Buffer.from("{}")),
    path: "/tests.v1.EchoService/Talk",
    contentType: "application/connect+json",
  });
  expect(answer.httpStatus).toBe(505);
  expect(answer.headers.connection).toBe("close");
});

test("a Connect 401 names the scheme", async () => {
  const answer = await rawCall("Connect JSON over HTTP/1.1", doors, {
    message: Buffer.from("{}"),
    headers: ["authorization", "Basic eDp5"],
  });
  expect(answer.httpStatus).toBe(401);
  expect(answer.headers["www-authenticate"]).toBe("Bearer");
});

test("nothing of all this was a problem to report", () => {
  expect(doors.problems).toEqual([]);
});

/** Node's own HTTP/2 client does not send such a request, so its bytes are made by hand. */
async function sendTwoCredentials(way: RawWay): Promise<void> {
  const message = messageFor(way, { text: "ok" });
  const headers = ["authorization", "Bearer one", "authorization", "Bearer two"];
  if (way.endsWith("HTTP/1.1")) {
    expect((await rawCall(way, doors, { message, headers })).code).toBe(Code.Unauthenticated);
    return;
  }
  const { port } = way === "native gRPC" ? doors.grpc.address : doors.web.address;
  const type = isJson(way)
    ? "application/json"
    : isFramed(way)
      ? way.includes("Web")
        ? "application/grpc-web"
        : "application/grpc"
      : "application/proto";
  const request = http2Request(
    [
      [":method", "POST"],
      [":scheme", "http"],
      [":authority", "localhost"],
      [":path", "/tests.v1.EchoService/Say"],
      ["content-type", type],
      ["te", "trailers"],
      ["authorization", "Bearer one"],
      ["authorization", "Bearer two"],
    ],
    isFramed(way) ? envelope(0, message) : message,
  );
  const answer = await sendHttp2Bytes(port, request);
  if (!isFramed(way)) expect(answer.toString("latin1")).toContain('"code":"unauthenticated"');
}

/** An EchoRequest whose value is this many lists within each other. */
function deepValue(levels: number): Buffer {
  const parts: Buffer[] = [];
  let length = 0;
  // From the inside out: each list is a field 6 of a Value, and each but the innermost holds a field 1.
  for (let level = 0; level < levels; level++) {
    for (const tag of level === 0 ? [0x32] : [0x0a, 0x32]) {
      const head = Buffer.from([tag, ...varint(length)]);
      parts.push(head);
      length += head.length;
    }
  }
  parts.push(Buffer.from([0x22, ...varint(length)]));
  return Buffer.concat(parts.reverse());
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  return [...bytes, rest];
}
