import http from "node:http";
import http2 from "node:http2";
import { connect } from "node:net";
import { createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { serve } from "../../src/doors/door.ts";
import { createGetRoutes, createProbes } from "../../src/doors/probes.ts";
import { createReadiness } from "../../src/doors/readiness.ts";
import { createRestDoor } from "../../src/doors/rest-door.ts";
import { sendHeaders, sendJson, type WebHandler } from "../../src/doors/web-handler.ts";
import { EchoService } from "../helpers/echo-service.ts";
import { type OpenDoors, openDoors, transportFor } from "../helpers/every-door.ts";
import { rawCall } from "../helpers/raw-rpc.ts";

let doors: OpenDoors;
let missing: Record<string, string | undefined> = {};
const rest = createRestDoor({
  async handle(request, response) {
    if (!request.url?.startsWith("/api/")) return false;
    if (request.url === "/api/broken") throw new Error("secret inside");
    sendJson(response, 200, { seen: request.headers.authorization ?? null });
    return true;
  },
});
const fails: WebHandler = async (request, response) => {
  if (request.url !== "/half") return false;
  sendHeaders(response, 200, { "content-length": 5 });
  if (!("stream" in response)) response.flushHeaders();
  throw new Error("no more");
};

beforeAll(async () => {
  doors = await openDoors({
    services: [serve(EchoService, { say: ({ text }) => ({ text }) })],
    handlers: [
      createProbes(
        createReadiness({
          database: async () => missing.database,
          relay: async () => {
            if (missing.relay === "throws") throw new Error("secret inside");
            return missing.relay;
          },
        }),
      ),
      createGetRoutes({ "/page": async (_request, response) => sendJson(response, 200, { page: true }) }),
      rest,
      fails,
    ],
    corsOrigins: ["https://app.example", "http://localhost:5173"],
  });
});
afterAll(() => doors.stop());

/** Sends text on a connection of its own and gives everything that comes back until it is closed. */
async function sendText(text: string): Promise<string> {
  const socket = connect(doors.web.address.port, "127.0.0.1");
  socket.write(text);
  const chunks: Buffer[] = await socket.toArray();
  return Buffer.concat(chunks).toString();
}

describe("routing", () => {
  test("a path that nobody serves is 404 with an error body", async () => {
    const response = await fetch(`${doors.webUrl}/nowhere`);
    expect(response.status).toBe(404);
    expect(await response.json()).toEqual({
      error: { code: 404, status: "NOT_FOUND", message: expect.any(String), details: [] },
    });
  });

  test("the REST door answers its paths and lets others by", async () => {
    const response = await fetch(`${doors.webUrl}/api/v1/x`);
    expect(await response.json()).toEqual({ seen: null });
  });

  test("two authorization headers reach the REST door as no valid credential", async () => {
    const answer = await sendText(
      "GET /api/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nauthorization: Bearer b\r\nConnection: close\r\n\r\n",
    );
    expect(answer).toContain('{"seen":"Bearer a, Bearer b"}');
  });

  test("a GET route answers GET and HEAD, and 405 with Allow to others", async () => {
    expect(await (await fetch(`${doors.webUrl}/page?x=1`)).json()).toEqual({ page: true });
    const head = await fetch(`${doors.webUrl}/page`, { method: "HEAD" });
    expect(head.status).toBe(200);
    expect(await head.text()).toBe("");
    const post = await fetch(`${doors.webUrl}/page`, { method: "POST", body: "x" });
    expect(post.status).toBe(405);
    expect(post.headers.get("allow")).toBe("GET, HEAD");
  });

  test("the same handlers answer over h2c", async () => {
    const session = http2.connect(doors.webUrl);
    const stream = session.request({ ":path": "/page" });
    const chunks: Buffer[] = await stream.toArray();
    expect(Buffer.concat(chunks).toString()).toBe('{"page":true}');
    session.close();
  });

  test("a handler that throws is 500 without its reason, or a broken connection once it has begun", async () => {
    doors.problems.length = 0;
    const response = await fetch(`${doors.webUrl}/api/broken`);
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain("secret");
    await expect(fetch(`${doors.webUrl}/half`).then((half) => half.text())).rejects.toThrow();
    expect(doors.problems).toHaveLength(2);
  });

  test("a host that is none, or missing, is refused and harms nobody", async () => {
    const path = "/tests.v1.EchoService/Say";
    for (const head of [
      `POST ${path} HTTP/1.1\r\nHost: [::\r\n`,
      `POST ${path} HTTP/1.0\r\n`,
      `POST ${path} HTTP/1.1\r\nHost: a b\r\n`,
    ]) {
      const answer = await sendText(
        `${head}Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}`,
      );
      expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    }
    expect((await rawCall("Connect JSON over HTTP/1.1", doors, { message: Buffer.from("{}") })).code).toBe(0);
  });

  test("a connection survives a request that was refused before its end", async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const call = (body: string) =>
      new Promise<[number | undefined, unknown]>((resolve, reject) => {
        const request = http.request(
          `${doors.webUrl}/tests.v1.EchoService/Say`,
          { method: "POST", agent, headers: { "content-type": "application/json" } },
          (response) => {
            response.resume().on("end", () => resolve([response.statusCode, request.socket?.localPort]));
          },
        );
        request.on("error", reject);
        request.end(body);
      });
    const [refused, port] = await call(JSON.stringify({ text: "x".repeat(3 * 1024 * 1024) }));
    const [good, portAfter] = await call("{}");
    expect([refused, good]).toEqual([429, 200]);
    expect(portAfter).toBe(port);
    agent.destroy();
  });

  test("a body without an end is cut off after the answer", async () => {
    const socket = connect(doors.web.address.port, "127.0.0.1");
    socket.on("error", () => {});
    const closed = new Promise((resolve) => socket.once("close", resolve));
    let answer = "";
    socket.on("data", (chunk: Buffer) => {
      answer += chunk.toString();
    });
    socket.write("POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    const chunk = `10000\r\n${"x".repeat(0x10000)}\r\n`;
    const pour = () => {
      while (!socket.destroyed && socket.write(chunk));
    };
    socket.on("drain", pour);
    pour();
    await closed;
    expect(answer).toMatch(/^HTTP\/1\.1 404 /);
  });

  test("headers over the cap are refused", async () => {
    const answer = await sendText(`GET /page HTTP/1.1\r\nHost: x\r\nX-Big: ${"x".repeat(17_000)}\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1\.1 431 /);
  });
});

describe("probes", () => {
  test("healthz says that the process lives", async () => {
    const response = await fetch(`${doors.webUrl}/healthz`);
    expect([response.status, await response.json()]).toEqual([200, { status: "ok" }]);
  });

  test("readyz names what is not ready, and not why a check threw", async () => {
    missing = {};
    expect((await fetch(`${doors.webUrl}/readyz`)).status).toBe(200);
    missing = { database: "the database does not answer", relay: "throws" };
    const response = await fetch(`${doors.webUrl}/readyz`);
    expect(response.status).toBe(503);
    expect(await response.json()).toEqual({
      status: "unavailable",
      notReady: [
        { name: "database", reason: "the database does not answer" },
        { name: "relay", reason: "the check failed" },
      ],
    });
  });
});

describe("CORS", () => {
  const preflight = (origin: string, path = "/tests.v1.EchoService/Say") =>
    fetch(doors.webUrl + path, {
      method: "OPTIONS",
      headers: {
        origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,connect-protocol-version",
      },
    });

  test("a preflight of an allowed origin is granted on every path", async () => {
    for (const path of ["/tests.v1.EchoService/Say", "/api/v1/agents", "/nowhere"]) {
      const response = await preflight("https://app.example", path);
      expect(response.status).toBe(204);
      expect(response.headers.get("access-control-allow-origin")).toBe("https://app.example");
      expect(response.headers.get("vary")).toBe("Origin");
      const allowed = response.headers.get("access-control-allow-headers")?.split(", ");
      for (const name of [
        "authorization",
        "connect-protocol-version",
        "connect-timeout-ms",
        "content-type",
        "grpc-timeout",
        "last-event-id",
        "traceparent",
        "tracestate",
        "x-drover-project",
        "x-grpc-web",
        "x-request-id",
        "x-server-timeout",
        "x-user-agent",
      ]) {
        expect(allowed).toContain(name);
      }
      expect(response.headers.get("access-control-allow-methods")).toContain("DELETE");
    }
  });

  test("a preflight of another origin is not granted", async () => {
    const response = await preflight("https://evil.example");
    expect(response.headers.get("access-control-allow-origin")).toBeNull();
    expect(response.headers.get("access-control-allow-headers")).toBeNull();
    expect(response.headers.get("vary")).toBe("Origin");
  });

  test("answers, errors too, carry the origin and expose what clients read", async () => {
    for (const path of ["/nowhere", "/page", "/api/x"]) {
      const response = await fetch(doors.webUrl + path, { headers: { origin: "http://localhost:5173" } });
      expect(response.headers.get("access-control-allow-origin")).toBe("http://localhost:5173");
      const exposed = response.headers.get("access-control-expose-headers")?.split(", ");
      for (const name of [
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
        "retry-after",
        "www-authenticate",
        "x-request-id",
      ]) {
        expect(exposed).toContain(name);
      }
    }
    const rpc = await rawCall("Connect JSON over HTTP/1.1", doors, {
      message: Buffer.from("{}"),
      headers: ["origin", "https://app.example"],
    });
    expect(rpc.headers["access-control-allow-origin"]).toBe("https://app.example");
    expect((await fetch(`${doors.webUrl}/page`)).headers.get("access-control-allow-origin")).toBeNull();
  });

  test("without origins there are no CORS headers at all", async () => {
    const closed = await openDoors({ services: [] });
    const response = await fetch(`${closed.webUrl}/x`, { headers: { origin: "https://app.example" } });
    expect([...response.headers.keys()].filter((name) => /^(access-control|vary)/.test(name))).toEqual([]);
    await closed.stop();
  });

  test("a star allows every origin", async () => {
    const open = await openDoors({ services: [], corsOrigins: ["*"] });
    const response = await fetch(`${open.webUrl}/x`, { headers: { origin: "https://any.example" } });
    expect(response.headers.get("access-control-allow-origin")).toBe("*");
    await open.stop();
  });
});

test("a slow header and a slow body are cut off", async () => {
  const strict = await openDoors({ services: [], timeouts: { headersMs: 200, requestMs: 400 } });
  for (const begun of ["", "Content-Length: 5\r\n\r\nhel"]) {
    const socket = connect(strict.web.address.port, "127.0.0.1");
    socket.write(`POST / HTTP/1.1\r\nHost: x\r\n${begun}`);
    const chunks: Buffer[] = await socket.toArray();
    expect(Buffer.concat(chunks).toString()).toMatch(/^HTTP\/1\.1 4\d\d /);
  }
  await strict.stop();
});

test("the client's transports all work beside CORS", async () => {
  const { transport, close } = transportFor("Connect JSON over HTTP/1.1", doors);
  expect((await createClient(EchoService, transport).say({ text: "hi" })).text).toBe("hi");
  close();
});
