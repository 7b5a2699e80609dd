import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { serve } from "../../src/doors/door.ts";
import { createGrpcDoor } from "../../src/doors/grpc-door.ts";
import { createWebDoor } from "../../src/doors/web-door.ts";
import { EchoService } from "../helpers/echo-service.ts";
import { type OpenDoors, openDoors, transportFor, WAYS } from "../helpers/every-door.ts";

let doors: OpenDoors;
let begun: PromiseWithResolvers<void>;
let finish: PromiseWithResolvers<void>;
let reason: unknown;

const echo = serve(EchoService, {
  async say({ text }, { signal }) {
    signal.addEventListener("abort", () => {
      reason = signal.reason;
    });
    begun.resolve();
    await finish.promise;
    return { text };
  },
  async *count(_request, { signal }) {
    yield { count: 1 };
    begun.resolve();
    await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  },
  async *talk(requests) {
    for await (const { text } of requests) yield { text };
  },
});

beforeEach(async () => {
  begun = Promise.withResolvers();
  finish = Promise.withResolvers();
  reason = undefined;
});

const BIDI_WAYS = WAYS.filter((way) => !way.endsWith("HTTP/1.1"));

describe.each(WAYS)("%s", (way) => {
  let client: Client<typeof EchoService>;
  let close: () => void;
  async function open(graceMs: number): Promise<void> {
    doors = await openDoors({ services: [echo], graceMs });
    const opened = transportFor(way, doors);
    client = createClient(EchoService, opened.transport);
    ({ close } = opened);
  }
  afterEach(() => close());

  test("a call in flight finishes, a stream learns that the server stops", async () => {
    await open(20_000);
    const stream = client.count({})[Symbol.asyncIterator]();
    expect((await stream.next()).value?.count).toBe(1);
    const rest = stream.next().catch((error: unknown) => ConnectError.from(error));
    await begun.promise;
    begun = Promise.withResolvers();
    const call = client.say({ text: "last" });
    await begun.promise;
    const stopped = doors.stop();
    expect(await rest).toMatchObject({ code: Code.Unavailable });
    finish.resolve();
    expect((await call).text).toBe("last");
    await stopped;
    await expect(client.say({})).rejects.toThrow();
  });

  test.each(BIDI_WAYS.includes(way) ? ["talk"] : [])(
    "a handler that waits for the next request is woken",
    async () => {
      await open(20_000);
      const answers = client.talk(oneAndThenSilence())[Symbol.asyncIterator]();
      expect((await answers.next()).value?.text).toBe("hello");
      const rest = answers.next().catch((error: unknown) => ConnectError.from(error));
      const startedMs = performance.now();
      await doors.stop();
      expect(await rest).toMatchObject({ code: Code.Unavailable });
      // The client never ends its own side; the door does not keep the connection for it until the grace is over.
      expect(performance.now() - startedMs).toBeLessThan(19_000);
    },
  );

  test("a call that does not finish is cut off when the grace is over", async () => {
    await open(50);
    const call = client.say({ text: "never" }).catch((error: unknown) => ConnectError.from(error));
    await begun.promise;
    await doors.stop();
    expect(await call).toBeInstanceOf(ConnectError);
    expect(reason).toMatchObject({ code: Code.Unavailable });
  });
});

async function* oneAndThenSilence() {
  yield { text: "hello" };
  await new Promise(() => {});
}

test("a door can be stopped twice, and before it was started", async () => {
  doors = await openDoors({ services: [echo] });
  await doors.stop();
  await doors.stop();
  const options = { host: "127.0.0.1", port: 0, services: [], interceptors: [], report: () => {} };
  await createGrpcDoor(options).stop();
  await createWebDoor(options).stop();
});

test("a port that is taken stops the start", async () => {
  doors = await openDoors({ services: [] });
  const shared = { host: "127.0.0.1", services: [], interceptors: [], report: () => {} };
  await expect(createGrpcDoor({ ...shared, port: doors.grpc.address.port }).start()).rejects.toThrow();
  await expect(createWebDoor({ ...shared, port: doors.web.address.port }).start()).rejects.toThrow(
    "EADDRINUSE",
  );
  await doors.stop();
});

test("an address is known only after the start", () => {
  const options = { host: "127.0.0.1", port: 0, services: [], interceptors: [], report: () => {} };
  expect(() => createGrpcDoor(options).address).toThrow();
  expect(() => createWebDoor(options).address).toThrow();
});
