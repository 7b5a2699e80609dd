import { once } from "node:events";
import { request } from "node:http";
import { gzipSync } from "node:zlib";
import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ZooServer } from "./zoo-server.ts";

/** What the handler of each stream does, by the `after` of its request. */
const scripts = new Map<string, (context: HandlerContext) => AsyncGenerator<unknown>>();
const stopped: string[] = [];

async function* count({ count: total, after }: { count: number; after: string }, context: HandlerContext) {
  const script = scripts.get(after);
  try {
    if (script !== undefined) {
      yield* script(context);
      return;
    }
    for (let index = 0; index < total; index++) yield { id: `e${index}`, animal: { name: `n${index}` } };
    context.responseTrailer.set("x-end", "done");
  } finally {
    stopped.push(after);
  }
}

const server = new ZooServer(
  {
    watch: count,
    async *download({ count: total, after }) {
      for (let index = 0; index < total; index++) {
        yield { contentType: "text/plain", data: Buffer.from(`part ${index};`) };
      }
      if (after === "fail") throw new ConnectError("no more", Code.Unavailable);
    },
    async weigh(animals) {
      let total = 0;
      let weight = 0n;
      for await (const { name, weightGrams } of animals) {
        total++;
        weight += weightGrams;
        if (name === "enough") break;
      }
      return { count: total, weightGrams: weight };
    },
  },
  {
    // The zoo's messages have no types of their own here.
    eventId: (message) => (message as unknown as { id?: string }).id,
    limits: { heartbeatMs: 20, streamOpenMs: 20 },
  },
);

beforeAll(() => server.start());
afterAll(() => server.stop());

const WATCH = "/v1/animals:watch";
const name = (index: number): object => expect.objectContaining({ name: `n${index}`, kind: "unspecified" });
const lines = (body: Buffer): unknown[] =>
  body
    .toString()
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

describe("the layout that Accept asks for", () => {
  test.each([
    [undefined, "application/x-ndjson"],
    ["*/*", "application/x-ndjson"],
    ["text/html", "application/x-ndjson"],
    ["application/x-ndjson", "application/x-ndjson"],
    ["text/event-stream", "text/event-stream"],
    ["Text/Event-Stream;q=0.5, */*;q=0.1", "text/event-stream"],
    ["application/json", "application/json"],
    ["application/json, text/event-stream;q=0.9", "application/json"],
    ["application/json;q=0, text/event-stream;q=0.001", "text/event-stream"],
    ["application/json;q=0.2, application/x-ndjson;q=0.3", "application/x-ndjson"],
  ])("%s: %s", async (accept, type) => {
    const reply = await server.send("GET", WATCH, undefined, accept === undefined ? {} : { accept });
    expect(reply.headers["content-type"]).toBe(type);
  });

  test("newline-delimited JSON of the response_body", async () => {
    const reply = await server.send("GET", `${WATCH}?count=3`);
    expect(lines(reply.body)).toEqual([name(0), name(1), name(2)]);
    expect(reply.headers["cache-control"]).toBe("no-cache");
    expect(reply.rawTrailers).toEqual(["x-end", "done"]);
  });

  test("server-sent events with ids", async () => {
    const reply = await server.send("GET", `${WATCH}?count=2`, undefined, { accept: "text/event-stream" });
    const frames = reply.body.toString().split("\n\n");
    expect(frames).toEqual([
      expect.stringMatching(/^id: e0\ndata: \{"name":"n0",.*\}$/),
      expect.stringMatching(/^id: e1\ndata: \{"name":"n1",.*\}$/),
      "",
    ]);
  });

  test("an array, also an empty one", async () => {
    const accept = { accept: "application/json" };
    const reply = await server.send("GET", `${WATCH}?count=3`, undefined, accept);
    expect(reply.json).toEqual([name(0), name(1), name(2)]);
    expect((await server.send("GET", WATCH, undefined, accept)).json).toEqual([]);
  });

  test("bytes as they are, of the first message's type", async () => {
    const reply = await server.send("GET", "/v1/download?count=2", undefined, { accept: "application/json" });
    expect(reply.headers["content-type"]).toBe("text/plain");
    expect(reply.body.toString()).toBe("part 0;part 1;");
  });

  test("HEAD gives the headers and lets the handler go", async () => {
    scripts.set("head", async function* ({ signal }) {
      yield { id: "1" };
      await once(signal, "abort");
    });
    const reply = await server.send("HEAD", `${WATCH}?after=head`);
    expect(reply.headers["content-type"]).toBe("application/x-ndjson");
    expect(reply.body.length).toBe(0);
    await expect.poll(() => stopped).toContain("head");
  });
});

describe("failures", () => {
  scripts.set("at once", async function* () {
    yield* [];
    throw new ConnectError("gone", Code.OutOfRange);
  });
  scripts.set("after one", async function* () {
    yield { id: "e0", animal: { name: "n0" } };
    throw new ConnectError("gone", Code.OutOfRange);
  });
  const error = { code: 400, status: "OUT_OF_RANGE", message: "gone", details: [] };

  test("before the first message they are an HTTP status", async () => {
    const reply = await server.send("GET", `${WATCH}?after=at%20once`);
    expect(reply.status).toBe(400);
    expect(reply.json).toEqual({ error });
  });

  test("a bad request too", async () => {
    expect((await server.send("GET", `${WATCH}?count=x`)).status).toBe(400);
  });

  test("after it they are the last line", async () => {
    const reply = await server.send("GET", `${WATCH}?after=after%20one`);
    expect(reply.status).toBe(200);
    expect(lines(reply.body)).toEqual([name(0), { error }]);
  });

  test("the last event", async () => {
    const reply = await server.send("GET", `${WATCH}?after=after%20one`, undefined, {
      accept: "text/event-stream",
    });
    expect(reply.body.toString()).toContain(`\n\nevent: error\ndata: ${JSON.stringify({ error })}\n\n`);
  });

  test("the last element", async () => {
    const reply = await server.send("GET", `${WATCH}?after=after%20one`, undefined, {
      accept: "application/json",
    });
    expect(reply.json).toEqual([name(0), { error }]);
  });

  test("bytes break off", async () => {
    await expect(server.send("GET", "/v1/download?count=1&after=fail")).rejects.toThrow();
  });

  test("a deadline ends the stream", async () => {
    scripts.set("deadline", async function* ({ signal }) {
      yield { id: "e0", animal: { name: "n0" } };
      await once(signal, "abort");
    });
    const reply = await server.send("GET", `${WATCH}?after=deadline`, undefined, {
      "connect-timeout-ms": "50",
    });
    expect(lines(reply.body)).toEqual([
      name(0),
      { error: expect.objectContaining({ code: 504, status: "DEADLINE_EXCEEDED" }) },
    ]);
  });
});

describe("a caller", () => {
  test("who waits gets headers, then heartbeats, before anything happens", async () => {
    scripts.set("idle", async function* ({ signal }) {
      yield* [];
      await once(signal, "abort");
    });
    const res = await server.open(`${WATCH}?after=idle`, { accept: "text/event-stream" });
    expect(res.statusCode).toBe(200);
    const [beat] = await once(res, "data");
    expect(String(beat)).toBe(":\n\n");
    res.destroy();
    await expect.poll(() => stopped).toContain("idle");
  });

  test("who goes away cancels the handler", async () => {
    let reason: unknown;
    scripts.set("leave", async function* ({ signal }) {
      yield { id: "e0" };
      await once(signal, "abort");
      reason = signal.reason;
    });
    const res = await server.open(`${WATCH}?after=leave`);
    await once(res, "data");
    res.destroy();
    await expect.poll(() => stopped).toContain("leave");
    expect(ConnectError.from(reason).code).toBe(Code.Canceled);
  });

  test("who does not read holds the handler back", async () => {
    let produced = 0;
    scripts.set("slow", async function* () {
      for (; produced < 10_000; produced++) yield { id: "e", animal: { name: "x".repeat(10_000) } };
    });
    const res = await server.open(`${WATCH}?after=slow`);
    // Sockets buffer some megabytes; nothing is asked for beyond them.
    let last = -1;
    await expect
      .poll(
        () => {
          const hasStopped = produced === last;
          last = produced;
          return hasStopped;
        },
        { interval: 200 },
      )
      .toBe(true);
    expect(produced).toBeLessThan(5_000);
    res.destroy();
    await expect.poll(() => stopped).toContain("slow");
  });
});

describe("client streams", () => {
  const WEIGH = "/v1/animals:weigh";
  const ndjson = { "content-type": "application/x-ndjson" };

  test.each([
    ['{"weightGrams":1}\n{"weightGrams":"2"}\n', 2, "3", "lines"],
    ['{"weightGrams":1}\r\n\r\n\n{"weightGrams":2}', 2, "3", "empty lines and no last newline"],
    ["", 0, "0", "nothing"],
    ['{"name":"enough"}\n{"weightGrams":2}\n', 1, "0", "a handler that stops reading"],
  ])("%j", async (body, total, weight, _why) => {
    const reply = await server.send("POST", WEIGH, body, ndjson);
    expect(reply.json).toEqual({ count: total, weightGrams: weight });
  });

  test("compressed", async () => {
    const headers = { ...ndjson, "content-encoding": "gzip" };
    const reply = await server.send("POST", WEIGH, gzipSync('{"weightGrams":1}\n'.repeat(1000)), headers);
    expect(reply.json).toEqual({ count: 1000, weightGrams: "1000" });
  });

  test.each([
    ['{"weightGrams":1}\n{"nothing":2}\n', 400, "a bad message"],
    [`{"name":"${"x".repeat(1024 * 1024)}"}\n`, 413, "a message that is too large"],
  ])("%#", async (body, status, _why) => {
    expect((await server.send("POST", WEIGH, body, ndjson)).status).toBe(status);
  });

  test("another content type", async () => {
    expect((await server.send("POST", WEIGH, "x", { "content-type": "text/csv" })).status).toBe(415);
  });

  test("messages reach the handler as they are sent", async () => {
    const headers = { ...ndjson, "transfer-encoding": "chunked" };
    const sent = request({ port: server.port, method: "POST", path: WEIGH, headers, agent: false });
    sent.write('{"name":"enough"}\n');
    // The handler answers although the request has not ended.
    const [res] = await once(sent, "response");
    expect(res.statusCode).toBe(200);
    sent.destroy();
  });
});
