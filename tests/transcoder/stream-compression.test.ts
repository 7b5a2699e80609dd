import { once } from "node:events";
import { createBrotliDecompress, createGunzip } from "node:zlib";
import type { HandlerContext } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ZooServer } from "./zoo-server.ts";

let goOn = Promise.withResolvers<void>();
const aborted: unknown[] = [];

const server = new ZooServer({
  async *watch({ count }: { count: number }, { signal }: HandlerContext) {
    signal.addEventListener("abort", () => aborted.push(signal.reason));
    yield { animal: { name: "first" } };
    await Promise.race([goOn.promise, once(signal, "abort")]);
    if (signal.aborted) throw signal.reason;
    for (let index = 0; index < count; index++) yield { animal: { name: `n${index}`.repeat(500) } };
  },
  async getAnimal() {
    await goOn.promise;
    return {};
  },
});

beforeAll(() => server.start());
afterAll(() => server.stop());

const DECODERS = { gzip: createGunzip, br: createBrotliDecompress };

describe("a stream is compressed as its caller likes it", () => {
  test.each([
    ["gzip", "gzip"],
    ["br", "br"],
    ["gzip, deflate, br", "gzip"],
    ["gzip;q=0.1, br", "br"],
    ["gzip;q=0, *", "br"],
    ["deflate", undefined],
    ["identity", undefined],
    ["gzip;q=0", undefined],
  ] as const)("%s: %s", async (accepted, coding) => {
    goOn = Promise.withResolvers();
    const res = await server.open("/v1/animals:watch?count=2", { "accept-encoding": accepted });
    expect(res.headers["content-encoding"]).toBe(coding);
    expect(res.headers.vary).toContain("accept-encoding");
    const text = coding === undefined ? res : res.pipe(DECODERS[coding]());
    text.setEncoding("utf8");
    const [first] = await once(text, "data");
    // The handler waits for this test: the frame has come although nothing follows it yet.
    expect(JSON.parse(String(first))).toMatchObject({ name: "first" });
    goOn.resolve();
    let rest = "";
    for await (const chunk of text) rest += String(chunk);
    expect(rest.trimEnd().split("\n")).toHaveLength(2);
  });

  test("without a preference it is not", async () => {
    goOn = Promise.withResolvers();
    goOn.resolve();
    const reply = await server.send("GET", "/v1/animals:watch");
    expect(reply.headers["content-encoding"]).toBeUndefined();
  });

  test("nor is the answer to HEAD, which names the coding all the same", async () => {
    const reply = await server.send("HEAD", "/v1/animals:watch", undefined, { "accept-encoding": "gzip" });
    expect(reply.headers["content-encoding"]).toBe("gzip");
    expect(reply.body).toHaveLength(0);
  });
});

describe("a server that stops", () => {
  test("ends streams with an error as their last frame, and leaves calls alone", async () => {
    goOn = Promise.withResolvers();
    const call = server.send("GET", "/v1/animals/a");
    const res = await server.open("/v1/animals:watch");
    res.setEncoding("utf8");
    await once(res, "data");
    server.streamsEnd.abort(new ConnectError("the server is stopping", Code.Unavailable));
    let rest = "";
    for await (const chunk of res) rest += String(chunk);
    expect(JSON.parse(rest)).toMatchObject({ error: { code: 503, status: "UNAVAILABLE" } });
    goOn.resolve();
    expect((await call).status).toBe(200);
    server.streamsEnd = new AbortController();
  });

  test("ends calls when their time is over", async () => {
    goOn = Promise.withResolvers();
    const call = server.send("GET", "/v1/animals/a");
    server.callsEnd.abort(new ConnectError("the server is stopping", Code.Unavailable));
    expect((await call).json).toMatchObject({ error: { code: 503, status: "UNAVAILABLE" } });
    expect((await server.send("GET", "/v1/animals/a")).status).toBe(503);
    server.callsEnd = new AbortController();
    goOn.resolve();
  });
});
