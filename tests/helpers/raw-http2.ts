import { connect } from "node:net";

export const HTTP2_PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

const DATA = 0;
const HEADERS = 1;
const SETTINGS = 4;
const END_STREAM = 1;
const END_HEADERS = 4;

/** The bytes of an HTTP/2 connection with one request, headers exactly as given, in plain HPACK literals. */
export function http2Request(headers: readonly (readonly [string, string])[], body: Uint8Array): Buffer {
  const block = Buffer.concat(
    headers.flatMap(([name, value]) => [Buffer.from([0]), literal(name), literal(value)]),
  );
  return Buffer.concat([
    HTTP2_PREFACE,
    frame(SETTINGS, 0, 0, Buffer.alloc(0)),
    frame(HEADERS, END_HEADERS, 1, block),
    frame(DATA, END_STREAM, 1, body),
  ]);
}

function literal(text: string): Buffer {
  const bytes = Buffer.from(text, "latin1");
  if (bytes.length > 126) throw new Error("longer than one length byte can say");
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
}

function frame(type: number, flags: number, stream: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** Sends bytes and resolves with what came back until stream 1 was ended by the server. */
export function sendHttp2Bytes(port: number, bytes: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(bytes));
    let received: Buffer = Buffer.alloc(0);
    socket.on("error", reject);
    socket.on("close", () => resolve(received));
    socket.on("data", (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (hasEnded(received)) socket.destroy();
    });
  });
}

function hasEnded(bytes: Buffer): boolean {
  for (let at = 0; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3)) {
    const isRequest = bytes.readUInt32BE(at + 5) === 1;
    const type = bytes.readUInt8(at + 3);
    if (isRequest && (type === DATA || type === HEADERS) && (bytes.readUInt8(at + 4) & END_STREAM) !== 0) {
      return at + 9 + bytes.readUIntBE(at, 3) <= bytes.length;
    }
  }
  return false;
}
