import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { gzipSync } from "node:zlib";
import { Code, createClient } from "@connectrpc/connect";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { type ControlPlaneProcess, spawnControlPlane } from "../helpers/control-plane.ts";
import { createGrpcJsTransport } from "../helpers/grpc-js-transport.ts";
import {
  DATA,
  type FloodName,
  flood,
  floods,
  frame,
  hello,
  hostile,
  requestHeaders,
} from "../helpers/hostile-client.ts";
import { rawCall } from "../helpers/raw-rpc.ts";
import { sendHttp } from "../helpers/rest-client.ts";

const PORTS = ["web", "native"] as const;
const MIB = 1024 * 1024;
/** What the server may hold at most while it is attacked: what it holds anyway, and the budget of strangers. */
const CEILING_MIB = 1000;

let server: ControlPlaneProcess;
let ports: Record<(typeof PORTS)[number], number>;
let agentToken: string;
let honest: Honest;

beforeAll(async () => {
  server = await spawnControlPlane({ settings: { DROVER_MAX_UNPROVEN_CONNECTIONS: "100" } });
  ports = { web: Number(new URL(server.httpUrl).port), native: Number(server.grpcAddress.split(":")[1]) };
  agentToken = await enroll();
});
afterAll(async () => {
  await server.stop();
});

async function post<T>(path: string, token: string, body: unknown): Promise<T> {
  const answer = await sendHttp(server.httpUrl, {
    method: "POST",
    target: path,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  expect([path, answer.status, answer.text]).toEqual([path, 200, expect.anything()]);
  // The caller names what this path answers.
  return JSON.parse(answer.text) as T;
}

async function enroll(): Promise<string> {
  const made = await post<{ secret: string }>("/api/v1/tokens", server.operatorToken, { role: "enrollment" });
  const agent = await post<{ secret: string }>("/api/v1/agents:enroll", made.secret, {
    name: "honest",
    nonce: "first",
  });
  return agent.secret;
}

/** Beats by both ports all the time, and remembers how long each beat took. */
interface Honest {
  stop(): Promise<{ beats: number; slowestMs: number }>;
}

function beHonest(): Honest {
  const transport = createGrpcJsTransport(server.grpcAddress);
  const client = createClient(AgentService, transport);
  const headers = { authorization: `Bearer ${agentToken}` };
  let stopped = false;
  let beats = 0;
  let slowestMs = 0;
  const loop = (async () => {
    while (!stopped) {
      const since = performance.now();
      await client.heartbeat({ status: AgentStatus.ONLINE }, { headers });
      await post("/api/v1/agent/heartbeat", agentToken, { status: "online" });
      slowestMs = Math.max(slowestMs, performance.now() - since);
      beats += 2;
    }
  })();
  return {
    async stop() {
      stopped = true;
      await loop;
      transport.close();
      return { beats, slowestMs };
    },
  };
}

function residentMib(): number {
  const status = readFileSync(`/proc/${server.pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
}

describe.each(PORTS)("on the %s port, while an honest agent beats by both", (port) => {
  afterEach(async () => {
    const { beats, slowestMs } = await honest.stop();
    expect(beats).toBeGreaterThan(0);
    // Far from how long it takes; a server that stands still would take for ever.
    expect(slowestMs).toBeLessThan(20_000);
    expect(residentMib()).toBeLessThan(CEILING_MIB);
  });

  test.each(Object.keys(floods) as FloodName[])("a flood of %s ends its connection", async (name) => {
    honest = beHonest();
    expect((await flood(ports[port], name, 1_000_000)).cut).toBe(true);
  });

  test("hundreds of silent connections keep nobody out", async () => {
    honest = beHonest();
    const silent = Array.from({ length: 150 }, () => hostile(ports[port], hello));
    // A new agent is behind all of them, and gets its turn.
    const transport = createGrpcJsTransport(server.grpcAddress);
    const answer = await createClient(AgentService, transport).heartbeat(
      { status: AgentStatus.BUSY },
      { headers: { authorization: `Bearer ${agentToken}` } },
    );
    expect(answer.acknowledged).toBe(true);
    transport.close();
    for (const socket of silent) socket.destroy();
  });

  test("compressed messages that would fill the memory are refused by their first mebibyte", async () => {
    honest = beHonest();
    const bomb = gzipSync(Buffer.alloc(64 * MIB));
    let most = 0;
    const watch = setInterval(() => {
      most = Math.max(most, residentMib());
    }, 50);
    const doors = { webUrl: server.httpUrl, grpcTarget: server.grpcAddress };
    const call = { message: bomb, encoding: "gzip", path: "/drover.v1.AgentService/Heartbeat" };
    const way = port === "native" ? "native gRPC" : "gRPC over h2c";
    const answers = await Promise.all(Array.from({ length: 60 }, () => rawCall(way, doors, call)));
    clearInterval(watch);
    expect(new Set(answers.map(({ code }) => code))).toEqual(new Set([Code.ResourceExhausted]));
    // All of them would be nearly four thousand.
    expect(most).toBeLessThan(CEILING_MIB);
  });

  test("strangers whose messages never end hold a bounded piece of memory", async () => {
    honest = beHonest();
    let most = 0;
    const watch = setInterval(() => {
      most = Math.max(most, residentMib());
    }, 50);
    const hoarders = Array.from({ length: 60 }, () => hoard(ports[port]));
    await Promise.race(hoarders.map(({ cut }) => cut));
    clearInterval(watch);
    for (const { socket } of hoarders) socket.destroy();
    expect(most).toBeLessThan(CEILING_MIB);
  });
});

/** Begins call after call with almost all of a mebibyte and ends none of them, as fast as the server reads. */
function hoard(port: number): { socket: Socket; cut: Promise<void> } {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write(hello);
  // Windows of its own side do not matter: it only sends. The server's are ignored, so it sends within them by waiting.
  const chunk = Buffer.alloc(16_000);
  const head = Buffer.from([0, 0, 15, 255, 255]);
  let stream = 1;
  let window = 65_535;
  let left = 0;
  const send = () => {
    while (window >= 16_384 && stream < 400) {
      if (left === 0) {
        socket.write(requestHeaders(stream));
        socket.write(frame(DATA, 0, stream, head));
        window -= head.length;
        left = 3;
      }
      socket.write(frame(DATA, 0, stream, chunk));
      window -= chunk.length;
      left -= 1;
      if (left === 0) stream += 2;
    }
  };
  let heard: Buffer = Buffer.alloc(0);
  socket.on("data", (bytes: Buffer) => {
    heard = Buffer.concat([heard, bytes]);
    while (heard.length >= 9 && heard.length >= 9 + heard.readUIntBE(0, 3)) {
      const length = heard.readUIntBE(0, 3);
      const grown = heard.readUInt8(3) === 8 && heard.readUInt32BE(5) === 0;
      if (grown) window += heard.readUInt32BE(9);
      heard = heard.subarray(9 + length);
    }
    send();
  });
  send();
  const cut = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  return { socket, cut };
}

test("all of it left a server that works", async () => {
  const { ok } = await fetch(`${server.httpUrl}/readyz`);
  expect(ok).toBe(true);
  expect(residentMib() * MIB).toBeGreaterThan(0);
});
