import { connect, type Socket } from "node:net";
import { create } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { serve } from "../../src/doors/door.ts";
import { EchoRequestSchema, EchoService } from "../helpers/echo-service.ts";
import { type OpenDoors, openDoors, transportFor } from "../helpers/every-door.ts";
import { DATA, frame, hello, hostile, requestHeaders } from "../helpers/hostile-client.ts";
import { HTTP2_PREFACE } from "../helpers/raw-http2.ts";
import { waitFor } from "../helpers/wait-for.ts";

let doors: OpenDoors;
let ports: Record<"web" | "native", number>;

beforeAll(async () => {
  doors = await openDoors({
    services: [
      serve(EchoService, {
        say: ({ text }) => ({ text }),
        async *talk(requests) {
          for await (const { text } of requests) yield { text };
        },
      }),
    ],
    timeouts: { firstBytesMs: 300, headersMs: 400, requestMs: 600 },
    deadlines: { firstBytesMs: 300, requestMs: 600 },
  });
  ports = { web: doors.web.address.port, native: doors.grpc.address.port };
});
afterAll(() => doors.stop());

describe.each(["web", "native"] as const)("the %s port cuts off", (name) => {
  test("a connection that says nothing", async () => {
    const socket = connect(ports[name], "127.0.0.1")
      .on("error", () => {})
      .resume();
    await closed(socket);
  });

  test("a connection that stops before its settings", async () => {
    const socket = hostile(ports[name], HTTP2_PREFACE);
    await closed(socket);
  });

  test("a connection whose headers stop half way, whether they are a frame cut short or lack their end", async () => {
    const whole = requestHeaders(1, "/tests.v1.EchoService/Say");
    const unended = Buffer.from(whole);
    unended.writeUInt8(0, 4);
    const sockets = [whole.subarray(0, 20), unended].map((begun) =>
      hostile(ports[name], Buffer.concat([hello, begun])),
    );
    await Promise.all(sockets.map(closed));
  });

  test("a call whose message does not come to its end, and leaves the connection to others", async () => {
    const socket = hostile(ports[name], hello);
    let heard = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      heard = Buffer.concat([heard, chunk]);
    });
    const path = "/tests.v1.EchoService/Say";
    socket.write(requestHeaders(1, path));
    // A frame of ten bytes that stops after its head.
    socket.write(frame(DATA, 0, 1, Buffer.from([0, 0, 0, 0, 10])));
    await untilReset(() => heard, 1);
    expect(socket.closed).toBe(false);
    socket.destroy();
  });

  test("no stream that its caller keeps open", async () => {
    const way = name === "web" ? "gRPC over h2c" : "connect-node gRPC to the native door";
    const { transport, close } = transportFor(way, doors);
    const said: (() => void)[] = [];
    async function* slowly() {
      yield create(EchoRequestSchema, { text: "first" });
      await new Promise<void>((resolve) => said.push(resolve));
      yield create(EchoRequestSchema, { text: "second" });
    }
    const answers = createClient(EchoService, transport).talk(slowly())[Symbol.asyncIterator]();
    expect((await answers.next()).value?.text).toBe("first");
    // Long enough for a stalled call beside it to be cut off.
    const socket = hostile(ports[name], hello);
    let heard = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      heard = Buffer.concat([heard, chunk]);
    });
    socket.write(requestHeaders(1, "/tests.v1.EchoService/Say"));
    await untilReset(() => heard, 1);
    for (const go of said) go();
    expect((await answers.next()).value?.text).toBe("second");
    socket.destroy();
    close();
  });
});

test("the web port cuts off an HTTP/1.1 request whose headers or whose body come too slowly", async () => {
  const starts = [
    "POST / HTTP/1.1\r\nHost: a\r\nX-",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nab",
  ];
  for (const start of starts) {
    const socket = hostile(ports.web, Buffer.from(start));
    // One byte at a time keeps no connection alive.
    const drip = setInterval(() => socket.write("a"), 150);
    await closed(socket);
    clearInterval(drip);
  }
});

/** However it ends: a server that cuts a connection off may reset it. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once("close", () => resolve()));
}

const RST_STREAM = 3;

/** Waits until the server has reset the stream: a frame among what it said. */
async function untilReset(heard: () => Buffer, stream: number): Promise<void> {
  await waitFor(() => {
    const bytes = heard();
    for (let at = 0; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3)) {
      if (bytes.readUInt8(at + 3) === RST_STREAM && bytes.readUInt32BE(at + 5) === stream) return true;
    }
    return false;
  });
}
