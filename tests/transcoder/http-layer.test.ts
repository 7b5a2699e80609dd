import { connect } from "node:net";
import { brotliCompressSync, brotliDecompressSync, gunzipSync, gzipSync } from "node:zlib";
import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ZooServer } from "./zoo-server.ts";

let context: HandlerContext | undefined;
let respond: (current: HandlerContext) => unknown;
const server = new ZooServer({
  getAnimal: (_request, current) => {
    context = current;
    return respond(current);
  },
  echo: (request) => request,
});

beforeAll(() => server.start());
afterAll(() => server.stop());
beforeEach(() => {
  context = undefined;
  respond = () => ({});
});

const PATH = "/v1/animals/Leo";

describe("metadata", () => {
  test("request headers, but those of the connection", async () => {
    await server.send("GET", PATH, undefined, {
      "x-one": ["a", "b"],
      "X-Two": "c",
      connection: "x-hop",
      "x-hop": "d",
      te: "trailers",
    });
    const header = context?.requestHeader;
    expect(header?.get("x-one")).toBe("a, b");
    expect(header?.get("x-two")).toBe("c");
    expect(header?.has("x-hop")).toBe(false);
    expect(header?.has("te")).toBe(false);
    expect(header?.has("connection")).toBe(false);
  });

  test("of two Authorization headers neither is taken for the only one", async () => {
    const socket = connect(server.port, "127.0.0.1");
    const token = "Authorization: Bearer a\r\n";
    socket.write(`GET ${PATH} HTTP/1.1\r\nHost: x\r\n${token}${token}Connection: close\r\n\r\n`);
    for await (const _ of socket);
    expect(context?.requestHeader.get("authorization")).toBe("Bearer a, Bearer a");
  });

  test("response headers and trailers, but those of the connection", async () => {
    respond = ({ responseHeader, responseTrailer }) => {
      responseHeader.set("x-head", "a");
      responseHeader.append("set-cookie", "a=1");
      responseHeader.append("set-cookie", "b=2");
      responseHeader.set("content-length", "7");
      responseHeader.set("content-type", "text/plain");
      responseTrailer.set("x-tail", "b");
      responseTrailer.set("x-head", "c");
      return {};
    };
    const { headers, status } = await server.send("GET", PATH);
    expect(status).toBe(200);
    expect(headers).toMatchObject({ "x-head": "a, c", "x-tail": "b", "content-type": "application/json" });
    expect(headers["set-cookie"]).toEqual(["a=1", "b=2"]);
  });

  test("what the handler knows of its call", async () => {
    await server.send("GET", `${PATH}?flag=true`);
    expect(context).toMatchObject({ protocolName: "rest", requestMethod: "GET" });
    expect(context?.url).toBe(`http://localhost:${server.port}${PATH}?flag=true`);
    expect(context?.method.name).toBe("GetAnimal");
  });
});

describe("deadlines", () => {
  test.each([
    [{ "grpc-timeout": "5S" }, 5000],
    [{ "grpc-timeout": "1H" }, 3_600_000],
    [{ "grpc-timeout": "90000000u" }, 90_000],
    [{ "connect-timeout-ms": "5000" }, 5000],
    [{ "x-server-timeout": "5.5" }, 5500],
    [{ "grpc-timeout": "5S", "connect-timeout-ms": "6000", "x-server-timeout": "4" }, 4000],
    [{ "grpc-timeout": "99999999H" }, 3_600_000],
  ])("%j: %i ms", async (headers, expected) => {
    await server.send("GET", PATH, undefined, headers);
    const left = context?.timeoutMs() ?? 0;
    expect(left).toBeLessThanOrEqual(expected);
    expect(left).toBeGreaterThan(expected - 2000);
  });

  test("none without a header", async () => {
    await server.send("GET", PATH);
    expect(context?.timeoutMs()).toBeUndefined();
  });

  test.each([
    [{ "grpc-timeout": "5" }],
    [{ "grpc-timeout": "-5S" }],
    [{ "grpc-timeout": "123456789S" }],
    [{ "connect-timeout-ms": "soon" }],
    [{ "connect-timeout-ms": "1.5" }],
    [{ "x-server-timeout": "1s" }],
    [{ "x-server-timeout": "Infinity" }],
  ])("%j is malformed", async (headers) => {
    const reply = await server.send("GET", PATH, undefined, headers);
    expect(reply.json).toMatchObject({ error: { code: 400, status: "INVALID_ARGUMENT" } });
  });

  test("one that passes is 504, even if the handler goes on", async () => {
    respond = () => new Promise(() => undefined);
    const reply = await server.send("GET", PATH, undefined, { "connect-timeout-ms": "30" });
    expect(reply.json).toMatchObject({ error: { code: 504, status: "DEADLINE_EXCEEDED" } });
    expect(ConnectError.from(context?.signal.reason).code).toBe(Code.DeadlineExceeded);
  });

  test("one that has passed already is 504, however quick the handler is", async () => {
    respond = () => ({});
    const reply = await server.send("GET", PATH, undefined, { "x-server-timeout": "0" });
    expect(reply.json).toMatchObject({ error: { code: 504, status: "DEADLINE_EXCEEDED" } });
  });

  test("a caller who goes away cancels the handler", async () => {
    const called = new Promise<HandlerContext>((resolve) => {
      respond = (current) => {
        resolve(current);
        return new Promise(() => undefined);
      };
    });
    const socket = connect(server.port, "127.0.0.1");
    socket.write(`GET ${PATH} HTTP/1.1\r\nHost: x\r\n\r\n`);
    const { signal } = await called;
    socket.destroy();
    await expect.poll(() => signal.aborted).toBe(true);
    expect(ConnectError.from(signal.reason).code).toBe(Code.Canceled);
  });
});

describe("compression", () => {
  const long = "x".repeat(5000);

  test.each([
    ["gzip", "gzip"],
    ["br", "br"],
    ["gzip, br", "br"],
    ["gzip;q=1, br;q=0.5", "gzip"],
    ["br;q=0, gzip;q=0.1", "gzip"],
    ["*", "br"],
    ["br;q=0, *", "gzip"],
    ["gzip;q=0", undefined],
    ["identity", undefined],
    ["zstd", undefined],
    ["gzip;q=nonsense", undefined],
  ])("%s: %s", async (accepted, coding) => {
    respond = () => ({ name: long });
    const reply = await server.send("GET", PATH, undefined, { "accept-encoding": accepted });
    expect(reply.headers["content-encoding"]).toBe(coding);
    expect(reply.headers.vary).toBe("accept-encoding");
    const plain =
      coding === "gzip"
        ? gunzipSync(reply.body)
        : coding === "br"
          ? brotliDecompressSync(reply.body)
          : reply.body;
    expect(JSON.parse(plain.toString())).toMatchObject({ name: long });
  });

  test("not of what is small", async () => {
    const reply = await server.send("GET", PATH, undefined, { "accept-encoding": "gzip" });
    expect(reply.headers["content-encoding"]).toBeUndefined();
  });

  test.each([
    ["gzip", gzipSync],
    ["GZIP", gzipSync],
    ["br", brotliCompressSync],
    ["identity", (text: string) => text],
  ])("of requests: %s", async (coding, compress) => {
    const body = compress(JSON.stringify({ stringValue: long }));
    const reply = await server.send("POST", "/v1/echo", body, { "content-encoding": coding });
    expect(reply.json).toMatchObject({ stringValue: long });
  });
});
