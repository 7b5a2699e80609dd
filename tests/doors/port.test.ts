import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import { type AddressInfo, connect, type Server } from "node:net";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createPort, decideProtocol } from "../../src/doors/port.ts";
import { HTTP2_PREFACE, http2Request } from "../helpers/raw-http2.ts";

describe("decideProtocol", () => {
  test("asks for more until the whole preface is there", () => {
    for (let length = 0; length < HTTP2_PREFACE.length; length++) {
      expect(decideProtocol(HTTP2_PREFACE.subarray(0, length))).toBe("undecided");
    }
    expect(decideProtocol(HTTP2_PREFACE)).toBe("http2");
  });

  test("what follows the preface does not matter", () => {
    fc.assert(
      fc.property(fc.uint8Array(), (rest) => {
        expect(decideProtocol(Buffer.concat([HTTP2_PREFACE, rest]))).toBe("http2");
      }),
    );
  });

  test("any other byte is HTTP/1.1 at once", () => {
    fc.assert(
      fc.property(fc.nat(HTTP2_PREFACE.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const bytes = Buffer.from(HTTP2_PREFACE.subarray(0, at + 1));
        bytes.writeUInt8(bytes.readUInt8(at) ^ change, at);
        expect(decideProtocol(bytes)).toBe("http1");
      }),
    );
  });
});

describe("createPort", () => {
  let port: Server;
  let number: number;
  const http1 = http.createServer((request, response) => {
    request.resume().on("end", () => response.end(`1.1 ${request.url}`));
  });
  const h2 = http2.createServer((request, response) => {
    response.end(`2 ${request.url}`);
  });

  beforeEach(async () => {
    port = createPort({
      http1: (socket) => http1.emit("connection", socket),
      http2: (socket) => h2.emit("connection", socket),
      firstBytesTimeoutMs: 300,
    });
    port.listen(0, "127.0.0.1");
    await once(port, "listening");
    // A TCP server has no path to be bound to.
    number = (port.address() as AddressInfo).port;
  });
  afterEach(() => {
    port.close();
    http1.closeAllConnections();
  });

  /** Writes pieces one by one, each in a packet of its own, and gives what came back until `enough`. */
  async function send(pieces: Uint8Array[], enough: (text: string) => boolean): Promise<string> {
    const socket = connect({ port: number, host: "127.0.0.1", noDelay: true });
    await once(socket, "connect");
    let text = "";
    const done = new Promise<void>((resolve, reject) => {
      socket.on("data", (chunk: Buffer) => {
        text += chunk.toString("latin1");
        if (enough(text)) resolve();
      });
      socket.on("close", () => resolve());
      socket.on("error", reject);
    });
    for (const piece of pieces) {
      await new Promise<void>((resolve) => socket.write(piece, () => resolve()));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await done;
    socket.destroy();
    return text;
  }

  const bytewise = (bytes: Uint8Array) => Array.from(bytes, (byte) => Uint8Array.of(byte));
  const h2Request = http2Request(
    [
      [":method", "GET"],
      [":scheme", "http"],
      [":authority", "localhost"],
      [":path", "/two"],
    ],
    Buffer.alloc(0),
  );
  const h1Request = Buffer.from(
    "POST /one HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
  );

  test("serves HTTP/1.1, whole and byte by byte", async () => {
    for (const pieces of [[h1Request], bytewise(h1Request)]) {
      expect(await send(pieces, () => false)).toContain("1.1 /one");
    }
  });

  test("serves HTTP/2, whole, byte by byte, and split at every place of the preface", async () => {
    const splits = Array.from({ length: HTTP2_PREFACE.length }, (_, at) => [
      h2Request.subarray(0, at + 1),
      h2Request.subarray(at + 1),
    ]);
    for (const pieces of [[h2Request], bytewise(h2Request), ...splits]) {
      expect(await send(pieces, (text) => text.includes("2 /two"))).toContain("2 /two");
    }
  });

  test("a large request that follows the first bytes arrives whole", async () => {
    const body = Buffer.alloc(300_000, "x");
    const head = Buffer.from(
      `PUT /big HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`,
    );
    expect(await send([Buffer.concat([head, body])], () => false)).toContain("1.1 /big");
  });

  test("pipelined HTTP/1.1 requests in the first packet are both answered", async () => {
    const one = Buffer.from("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    const two = Buffer.from("GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    const text = await send([Buffer.concat([one, two])], () => false);
    expect(text).toContain("1.1 /a");
    expect(text).toContain("1.1 /b");
  });

  test("a client may close its half after the request", async () => {
    const socket = connect(number, "127.0.0.1");
    socket.end("GET /half HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    const chunks: Buffer[] = await socket.toArray();
    expect(Buffer.concat(chunks).toString()).toContain("1.1 /half");
  });

  test("a silent connection and one that stays undecided are closed", async () => {
    expect(await send([], () => false)).toBe("");
    expect(await send([HTTP2_PREFACE.subarray(0, 10)], () => false)).toBe("");
  });

  test("a connection that ends before it said anything does no harm", async () => {
    const socket = connect(number, "127.0.0.1");
    socket.end();
    await once(socket, "close");
    expect(await send([h1Request], () => false)).toContain("1.1 /one");
  });
});
