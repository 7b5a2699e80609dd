import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { type ClientHttp2Session, connect, constants, createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import type { DescService } from "@bufbuild/protobuf";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createTranscoder } from "../../src/transcoder/transcoder.ts";
import { zooService } from "./protos.ts";
import type { Handlers } from "./zoo-server.ts";

let watched: HandlerContext | undefined;
const handlers: Handlers = {
  getAnimal: ({ name }, { requestHeader, responseHeader }) => {
    responseHeader.set("x-seen", [...requestHeader.keys()].join(" "));
    return { name };
  },
  echo: (request) => request,
  async *watch({ count }, context) {
    watched = context;
    for (let index = 0; index < count; index++) yield { animal: { name: `n${index}` } };
    context.responseTrailer.set("x-end", "done");
    if (count === 0) await once(context.signal, "abort");
  },
};
// Its methods are known to the descriptor only.
const implementation = handlers as unknown as Partial<ServiceImpl<DescService>>;
const transcoder = createTranscoder({ services: [{ service: zooService, implementation }] });
// Node's compatible classes for HTTP/2 are no subclasses of these, but do what they do.
const server = createServer((req, res) => {
  void transcoder.handle(req as unknown as IncomingMessage, res as unknown as ServerResponse);
});
let session: ClientHttp2Session;

beforeAll(async () => {
  await once(server.listen(0, "127.0.0.1"), "listening");
  // A server that listens on a port has an address of this kind.
  session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
});
afterAll(async () => {
  session.close();
  await new Promise((resolve) => server.close(resolve));
});

async function send(headers: Record<string, string>, body?: string) {
  const stream = session.request(headers, { endStream: body === undefined });
  if (body !== undefined) stream.end(body);
  let trailers: object = {};
  stream.on("trailers", (received) => {
    trailers = received;
  });
  const [received] = await once(stream, "response");
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return { headers: received, trailers, text: Buffer.concat(chunks).toString() };
}

test("a call without a body, whose pseudo headers are no metadata", async () => {
  const reply = await send({ ":path": "/v1/animals/Leo?flag=true", "x-one": "a" });
  expect(reply.headers[":status"]).toBe(200);
  expect(JSON.parse(reply.text)).toMatchObject({ name: "Leo" });
  expect(reply.headers["x-seen"]).toBe("x-one");
});

test("a call with one", async () => {
  const reply = await send(
    { ":method": "POST", ":path": "/v1/echo", "content-type": "application/json" },
    '{"stringValue":"a"}',
  );
  expect(JSON.parse(reply.text)).toMatchObject({ stringValue: "a" });
});

test("a body that is too large, and one that is refused", async () => {
  const headers = { ":method": "POST", ":path": "/v1/echo", "content-type": "application/json" };
  expect((await send(headers, "x".repeat(1024 * 1024 + 1))).headers[":status"]).toBe(413);
  expect((await send(headers, "{")).headers[":status"]).toBe(400);
});

test("another method", async () => {
  const reply = await send({ ":method": "DELETE", ":path": "/v1/echo" });
  expect(reply.headers).toMatchObject({ ":status": 405, allow: "GET, POST, HEAD, OPTIONS" });
});

test("a stream with trailers", async () => {
  const reply = await send({ ":path": "/v1/animals:watch?count=2", accept: "application/json" });
  expect(JSON.parse(reply.text)).toHaveLength(2);
  expect(reply.trailers).toMatchObject({ "x-end": "done" });
});

test("a caller who goes away cancels the handler", async () => {
  const stream = session.request({ ":path": "/v1/animals:watch" });
  await once(stream, "response");
  stream.close(constants.NGHTTP2_CANCEL);
  await expect.poll(() => watched?.signal.aborted).toBe(true);
});
