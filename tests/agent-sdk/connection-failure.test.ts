import { createServer as createHttp1 } from "node:http";
import { createServer as createHttp2 } from "node:http2";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { Code, ConnectError } from "@connectrpc/connect";
import { afterEach, expect, test } from "vitest";
import { refusalOf } from "../../src/agent-sdk/agent-error.ts";
import { SessionStream } from "../../src/agent-sdk/session-stream.ts";
import { fakeServer } from "./with-agent.ts";

const URL_A = "https://a:1";

/** As node:tls tells it, below what the transport makes of it. */
function failure(code: string): Error {
  const cause = Object.assign(new Error("C0B6FF:error:0A00045C:SSL routines:ssl3_read_bytes"), { code });
  return new Error("it failed", { cause });
}

test.each([
  ["SELF_SIGNED_CERT_IN_CHAIN", "nobody whom this agent trusts"],
  ["UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "nobody whom this agent trusts"],
  ["ERR_TLS_CERT_ALTNAME_INVALID", "is for other names"],
  ["CERT_HAS_EXPIRED", "has expired"],
  ["CERT_NOT_YET_VALID", "not valid yet"],
  ["ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED", "asks for a client certificate"],
  ["ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE", "asks for a client certificate"],
  ["ERR_SSL_TLSV1_ALERT_UNKNOWN_CA", "does not take"],
  ["ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED", "does not take"],
  ["ERR_SSL_WRONG_VERSION_NUMBER", "speaks no TLS"],
  ["EHOSTUNREACH", "There is no way to https://a:1"],
  ["ETIMEDOUT", "https://a:1 does not answer"],
  ["EAI_AGAIN", "The name in https://a:1 could not be looked up"],
])("%s is said in words", (code, words) => {
  const { message } = refusalOf(failure(code), { url: URL_A, answered: false });
  expect(message).toContain(words);
  expect(message).toContain(code);
  expect(message).not.toContain("SSL routines");
});

test("what a server answers keeps its own words and its code", () => {
  const answer = new ConnectError("the database is shutting down", Code.ResourceExhausted);
  expect(refusalOf(answer, { url: URL_A, answered: true })).toMatchObject({
    message: "the database is shutting down",
    code: Code.ResourceExhausted,
  });
});

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

/** Serves on a free port until the test is over; what comes is over then as well. */
async function listen(server: Server): Promise<string> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => void sockets.add(socket));
  ends.push(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // An address of TCP is an object, never a text.
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

let breakNow = () => {};

/** A way to a server that answers, until `breakNow`. */
async function breakingWay(): Promise<string> {
  const target = new URL((await fakeServer()).url);
  return await listen(
    createServer((client) => {
      const server = connect(Number(target.port), target.hostname);
      client.pipe(server).pipe(client);
      for (const socket of [client, server]) socket.on("error", () => {});
      ends.push(() => server.destroy());
      breakNow = () => client.destroy();
    }),
  );
}

const answering = (status: number) =>
  createHttp2().on("stream", (stream) => stream.respond({ ":status": status }, { endStream: true }));

test.each<[string, () => string | Promise<string>, Code, RegExp]>([
  [
    "where nothing listens",
    () => "http://127.0.0.1:1",
    Code.Unavailable,
    /^Nothing listens at http:\/\/127\.0\.0\.1:1 \(ECONNREFUSED\)\.$/,
  ],
  [
    "of a name that nobody has",
    () => "http://nowhere.invalid:9090",
    Code.Unavailable,
    /^(Nobody knows the name in|The name in) http:\/\/nowhere\.invalid:9090 .*\((ENOTFOUND|EAI_AGAIN)\)\.$/,
  ],
  ["that breaks under an open stream", breakingWay, Code.Unavailable, /^The connection to \S+ was lost\.$/],
  [
    "that is reset",
    () => listen(createServer((socket) => void socket.once("data", () => socket.resetAndDestroy()))),
    Code.Unavailable,
    /^\S+ closed the connection without an answer; if that lasts, .* or wants https\.$/,
  ],
  [
    "that is closed",
    () => listen(createServer((socket) => socket.end())),
    Code.Unavailable,
    /^\S+ closed the connection without an answer; /,
  ],
  [
    "to a server of HTTP/1",
    () => listen(createHttp1((_, response) => response.end())),
    Code.Internal,
    /^\S+ speaks no HTTP\/2: is it the server's native gRPC port\?$/,
  ],
  [
    "to a proxy without a server behind it",
    () => listen(answering(502)),
    Code.Unavailable,
    /^\S+ answers HTTP 502, and not as a Drover server does\.$/,
  ],
  ["to something else", () => listen(answering(404)), Code.Unimplemented, /^\S+ answers HTTP 404, /],
  [
    "that nobody answers",
    () => listen(createServer(() => {})),
    Code.Unavailable,
    /^\S+ gave no answer in time\.$/,
  ],
])("a connection %s is said in words", async (_, open, code, words) => {
  const url = await open();
  const stream = new SessionStream({ server: { url }, token: "t", bootId: "boot", helloId: 1n, openMs: 500 });
  expect(await stream.run(() => breakNow())).toMatchObject({
    kind: "failed",
    refusal: { code, message: expect.stringMatching(words) },
  });
});
