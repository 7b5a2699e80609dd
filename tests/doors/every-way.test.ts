import { create } from "@bufbuild/protobuf";
import {
  type Client,
  Code,
  ConnectError,
  createClient,
  type HandlerContext,
  type Interceptor,
} from "@connectrpc/connect";
import { createAsyncIterable } from "@connectrpc/connect/protocol";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { BadRequestSchema, RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.js";
import { peerKey, serve } from "../../src/doors/door.ts";
import { requestIdKey } from "../../src/doors/request-id.ts";
import { type EchoRequest, EchoRequestSchema, EchoService } from "../helpers/echo-service.ts";
import { type OpenDoors, openDoors, transportFor, WAYS } from "../helpers/every-door.ts";

let doors: OpenDoors;
/** What the last handler saw, and a promise for the reason that its signal was aborted with. */
let seen: HandlerContext;
let interrupted: Promise<unknown>;
let produced = 0;
/** Resolves when the next handler begins. */
let begun = Promise.withResolvers<void>();

function see(context: HandlerContext): void {
  seen = context;
  interrupted = new Promise((resolve) => {
    context.signal.addEventListener("abort", () => resolve(context.signal.reason), { once: true });
  });
  begun.resolve();
}

const never = new Promise<never>(() => {});

function refusalOf({ text }: EchoRequest): void {
  if (text === "refuse") {
    throw new ConnectError("no such thing: ünï % \r\n", Code.FailedPrecondition, { "x-hint": "try later" }, [
      { desc: BadRequestSchema, value: { fieldViolations: [{ field: "text", description: "is wrong" }] } },
    ]);
  }
  if (text === "crash") throw new Error("the database password is 1234");
  if (text === "unauthenticated") throw new ConnectError("who are you?", Code.Unauthenticated);
  if (text === "busy") {
    throw new ConnectError("later", Code.ResourceExhausted, undefined, [
      { desc: RetryInfoSchema, value: { retryDelay: { seconds: 2n, nanos: 1 } } },
    ]);
  }
  if (text === "surrogate") throw new ConnectError("bad \ud800 text", Code.InvalidArgument);
}

const echo = serve(EchoService, {
  async say(request, context) {
    see(context);
    refusalOf(request);
    if (request.text === "hang") await never;
    context.responseHeader.set("x-answer", "header");
    context.responseHeader.set("x-answer-bin", "AQID");
    context.responseTrailer.set("x-end", "trailer");
    return { text: request.text, count: request.count, data: request.data };
  },
  async *count(request, context) {
    see(context);
    produced = 0;
    context.responseHeader.set("x-answer", "header");
    for (let count = 1; count <= request.count; count++) {
      produced = count;
      yield { count, data: request.data };
    }
    refusalOf(request);
    if (request.text === "hang") {
      await new Promise((resolve) => context.signal.addEventListener("abort", resolve, { once: true }));
    }
    context.responseTrailer.set("x-end", "trailer");
  },
  async sum(requests, context) {
    see(context);
    let count = 0;
    for await (const request of requests) {
      refusalOf(request);
      count += request.count;
    }
    context.responseTrailer.set("x-end", "trailer");
    return { count };
  },
  async *talk(requests, context) {
    see(context);
    for await (const request of requests) {
      refusalOf(request);
      yield { text: `heard ${request.text}` };
    }
  },
});

const trail: string[] = [];
const tracing: Interceptor = (next) => async (request) => {
  trail.push(`${request.method.name} ${request.header.get("x-caller")}`);
  return next(request);
};

beforeAll(async () => {
  doors = await openDoors({ services: [echo], interceptors: [tracing] });
});
afterAll(() => doors.stop());
beforeEach(() => {
  begun = Promise.withResolvers();
  trail.length = 0;
});

async function errorOf(promise: Promise<unknown>): Promise<ConnectError> {
  const outcome = await promise.then(
    (value) => ({ value }),
    (reason: unknown) => ({ reason }),
  );
  if (!("reason" in outcome)) throw new Error("the call did not fail");
  expect(outcome.reason).toBeInstanceOf(ConnectError);
  return ConnectError.from(outcome.reason);
}

async function all<T>(messages: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const message of messages) list.push(message);
  return list;
}

function copyTo(target: Headers): (source: Headers) => void {
  return (source) => {
    for (const [name, value] of source) target.set(name, value);
  };
}

describe.each(WAYS)("%s", (way) => {
  let client: Client<typeof EchoService>;
  let speaksBidi: boolean;
  let close: () => void;
  beforeEach(() => {
    const opened = transportFor(way, doors);
    client = createClient(EchoService, opened.transport);
    ({ speaksBidi, close } = opened);
  });
  afterEach(() => close());

  test("a unary call carries message, headers and trailers both ways", async () => {
    const header = new Headers();
    const trailer = new Headers();
    const answer = await client.say(
      { text: "grüße", count: -7, data: new Uint8Array([0, 255]) },
      {
        headers: {
          "x-caller": "me",
          "x-blob-bin": "AQID",
          authorization: "Bearer t",
          "x-request-id": "its-own-name",
        },
        timeoutMs: 20_000,
        onHeader: copyTo(header),
        onTrailer: copyTo(trailer),
      },
    );
    expect(answer).toMatchObject({ text: "grüße", count: -7 });
    expect([...answer.data]).toEqual([0, 255]);
    expect(header.get("x-answer")).toBe("header");
    expect(header.get("x-request-id")).toBe("its-own-name");
    expect(seen.values.get(requestIdKey)).toBe("its-own-name");
    expect(header.get("x-answer-bin")).toBe("AQID");
    expect(trailer.get("x-end")).toBe("trailer");
    expect(seen.requestHeader.get("x-blob-bin")).toBe("AQID");
    expect(seen.requestHeader.get("authorization")).toBe("Bearer t");
    expect(seen.timeoutMs()).toBeGreaterThan(1000);
    expect(seen.timeoutMs()).toBeLessThanOrEqual(20_000);
    expect(seen.values.get(peerKey)).toEqual({
      door: way.includes("native") ? "grpc" : "web",
      address: "127.0.0.1",
      port: expect.any(Number),
      certificate: expect.any(Function),
    });
    expect(seen.requestMethod).toBe("POST");
    expect(trail).toEqual(["Say me"]);
  });

  test("a server stream delivers every message, then the trailers", async () => {
    const trailer = new Headers();
    const answers = await all(client.count({ count: 300 }, { onTrailer: copyTo(trailer) }));
    expect(answers.map((answer) => answer.count)).toEqual(Array.from({ length: 300 }, (_, i) => i + 1));
    expect(trailer.get("x-end")).toBe("trailer");
  });

  test("a server stream may end without a message", async () => {
    expect(await all(client.count({ count: 0 }))).toEqual([]);
  });

  test("a client stream is summed up", async () => {
    const numbers = Array.from({ length: 300 }, (_, i) => create(EchoRequestSchema, { count: i }));
    expect(await client.sum(createAsyncIterable(numbers))).toMatchObject({ count: (300 * 299) / 2 });
  });

  test("both sides of a bidirectional stream talk in turn", async () => {
    if (!speaksBidi) {
      const error = await errorOf(all(client.talk(createAsyncIterable([{ text: "a" }]))));
      // The client itself refuses where HTTP/1.1 cannot.
      expect([Code.Unimplemented, Code.Unknown, Code.Internal]).toContain(error.code);
      return;
    }
    let turn = Promise.withResolvers<void>();
    async function* questions() {
      for (const text of ["a", "b", "c"]) {
        yield { text };
        await turn.promise;
        turn = Promise.withResolvers();
      }
    }
    const heard: string[] = [];
    for await (const answer of client.talk(questions())) {
      heard.push(answer.text);
      turn.resolve();
    }
    expect(heard).toEqual(["heard a", "heard b", "heard c"]);
  });

  test("a refusal arrives with its code, message, details and metadata", async () => {
    for (const call of [
      () => client.say({ text: "refuse" }),
      () => all(client.count({ text: "refuse", count: 2 })),
      () => client.sum(createAsyncIterable([{ text: "refuse" }])),
    ]) {
      const error = await errorOf(call());
      expect(error.code).toBe(Code.FailedPrecondition);
      expect(error.rawMessage).toBe("no such thing: ünï % \r\n");
      expect(error.metadata.get("x-hint")).toBe("try later");
      expect(error.findDetails(BadRequestSchema)).toMatchObject([
        { fieldViolations: [{ field: "text", description: "is wrong" }] },
      ]);
    }
  });

  test("an unforeseen error is INTERNAL and tells nothing of its inside", async () => {
    for (const call of [() => client.say({ text: "crash" }), () => all(client.count({ text: "crash" }))]) {
      const error = await errorOf(call());
      expect(error.code).toBe(Code.Internal);
      expect(error.rawMessage).toBe("internal error");
    }
  });

  test("401 names the scheme, and 429 the time to wait", async () => {
    const unknown = await errorOf(client.say({ text: "unauthenticated" }));
    expect(unknown.code).toBe(Code.Unauthenticated);
    expect(unknown.metadata.get("www-authenticate")).toBe("Bearer");
    const busy = await errorOf(client.say({ text: "busy" }));
    expect(busy.code).toBe(Code.ResourceExhausted);
    expect(busy.metadata.get("retry-after")).toBe("3");
  });

  test("a lone surrogate in a message cannot break the answer", async () => {
    const error = await errorOf(client.say({ text: "surrogate" }));
    expect(error.code).toBe(Code.InvalidArgument);
    expect(error.rawMessage).toBe("bad \ufffd text");
  });

  test("a method without implementation is UNIMPLEMENTED", async () => {
    expect((await errorOf(client.missing({}))).code).toBe(Code.Unimplemented);
  });

  test("a message over the cap is RESOURCE_EXHAUSTED, one at the cap goes through", async () => {
    const overhead = 5;
    const atCap = way.includes("JSON") ? 700 * 1024 : 1024 * 1024 - overhead;
    await expect(client.say({ data: new Uint8Array(atCap) })).resolves.toMatchObject({ text: "" });
    const over = await errorOf(client.say({ data: new Uint8Array(1024 * 1024 + 1) }));
    expect(over.code).toBe(Code.ResourceExhausted);
  });

  test("a deadline ends a handler that does not listen", async () => {
    // Sent as a header, so that no clock but the server's is running.
    const headers = { "grpc-timeout": "150m", "connect-timeout-ms": "150" };
    const error = await errorOf(client.say({ text: "hang" }, { headers }));
    expect(error.code).toBe(Code.DeadlineExceeded);
    expect(ConnectError.from(await interrupted).code).toBe(Code.DeadlineExceeded);
  });

  test("a caller that cancels aborts the handler's signal", async () => {
    const abort = new AbortController();
    const call = errorOf(client.say({ text: "hang" }, { signal: abort.signal }));
    await begun.promise;
    abort.abort();
    expect((await call).code).toBe(Code.Canceled);
    await interrupted;
  });

  test("a caller that leaves a stream aborts the handler's signal", async () => {
    const abort = new AbortController();
    const stream = client.count({ count: 1, text: "hang" }, { signal: abort.signal })[Symbol.asyncIterator]();
    expect((await stream.next()).value).toMatchObject({ count: 1 });
    abort.abort();
    expect((await errorOf(stream.next())).code).toBe(Code.Canceled);
    await interrupted;
  });

  test("a slow reader slows the handler down", async () => {
    const data = new Uint8Array(64 * 1024);
    const abort = new AbortController();
    const stream = client.count({ count: 2000, data }, { signal: abort.signal })[Symbol.asyncIterator]();
    expect((await stream.next()).value).toMatchObject({ count: 1 });
    // The handler stands still once every buffer between the two is full; it has then not produced everything.
    let before: number;
    do {
      before = produced;
      for (let i = 0; i < 200; i++) await new Promise((resolve) => setImmediate(resolve));
    } while (produced !== before);
    expect(produced).toBeLessThan(500);
    abort.abort();
    // What had arrived before may still be read.
    const rest = async () => {
      while ((await stream.next()).done !== true);
    };
    expect((await errorOf(rest())).code).toBe(Code.Canceled);
    await interrupted;
  });

  test("twenty calls at once do not mix", async () => {
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) => client.say({ text: `call ${i}`, count: i })),
    );
    expect(answers.map((answer) => answer.text)).toEqual(Array.from({ length: 20 }, (_, i) => `call ${i}`));
  });
});

test("nothing of all this was a problem to report", () => {
  expect(doors.problems).toEqual([]);
});
