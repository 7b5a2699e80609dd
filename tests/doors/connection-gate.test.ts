import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ConnectionGate, type ConnectionLimits } from "../../src/doors/connection-gate.ts";
import { waitFor } from "../helpers/wait-for.ts";

const wide: ConnectionLimits = { inAll: 100, perAddress: 100, unprovenPerAddress: 100 };

let gate: ConnectionGate;
let server: Server;
let served: Socket[];
const clients: Socket[] = [];

async function open(limits: Partial<ConnectionLimits>): Promise<void> {
  gate = new ConnectionGate({ ...wide, ...limits });
  await gate.start();
  server = createServer((socket) =>
    gate.admit(socket, () => {
      served.push(socket);
      socket.resume();
      socket.write("welcome");
    }),
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
}

/** A client, and what has become of it so far. */
function arrive(from = "127.0.0.1"): Socket & { heard: string } {
  // A server that listens on TCP has no path.
  const { port } = server.address() as AddressInfo;
  const socket = Object.assign(connect({ port, host: "127.0.0.1", localAddress: from }), { heard: "" });
  socket.on("error", () => {});
  socket.on("data", (chunk) => {
    socket.heard += chunk;
  });
  clients.push(socket);
  return socket;
}

async function arriveMany(count: number): Promise<ReturnType<typeof arrive>[]> {
  const many = Array.from({ length: count }, () => arrive());
  await Promise.all(many.map((socket) => once(socket, "connect")));
  return many;
}

const prove = (socket: Socket) => gate.prove(socket.localAddress ?? "", socket.localPort ?? 0);
const inside = (sockets: { heard: string }[]) => sockets.filter(({ heard }) => heard !== "").length;

beforeEach(() => {
  served = [];
});
afterEach(async () => {
  for (const socket of clients.splice(0)) socket.destroy();
  for (const socket of served) socket.destroy();
  await gate.stop();
  server.close();
});

describe("unproven connections", () => {
  test("beyond their places wait, and are let in as those before them bring their tokens", async () => {
    await open({ unprovenPerAddress: 3, waitMs: 60_000, proveWithinMs: 60_000 });
    const many = await arriveMany(20);
    await waitFor(() => inside(many) === 3);
    for (let proven = 1; proven <= 17; proven += 1) {
      const next = many.find((socket) => socket.heard === "welcome");
      if (next === undefined) throw new Error("nobody is inside");
      next.heard = "proven";
      prove(next);
      await waitFor(() => inside(many) === 3 + proven);
    }
    expect(inside(many)).toBe(20);
    expect(gate.counts).toEqual({ open: 20, refused: 0 });
  });

  test("that keep others waiting have to go after a while, the oldest first", async () => {
    await open({ unprovenPerAddress: 2, waitMs: 60_000, proveWithinMs: 50 });
    const hoarders = await arriveMany(2);
    await waitFor(() => inside(hoarders) === 2);
    const honest = arrive();
    await waitFor(() => honest.heard === "welcome");
    prove(honest);
    expect(hoarders.filter((socket) => !socket.closed).length).toBeLessThanOrEqual(1);
  });

  test("stay for as long as nobody waits", async () => {
    await open({ unprovenPerAddress: 2, waitMs: 50, proveWithinMs: 1 });
    const two = await arriveMany(2);
    await waitFor(() => inside(two) === 2);
    // Of another address, so that the places above are not asked for.
    const other = arrive("127.0.0.2");
    await waitFor(() => other.heard === "welcome");
    expect(two.some((socket) => socket.closed)).toBe(false);
  });

  test("that wait too long are cut off", async () => {
    await open({ unprovenPerAddress: 1, waitMs: 50, proveWithinMs: 60_000 });
    const [first, second] = await arriveMany(2);
    await waitFor(() => first?.closed || second?.closed);
    expect(gate.counts).toEqual({ open: 1, refused: 1 });
  });
});

test("an address has its limit, and another address its own", async () => {
  await open({ perAddress: 2 });
  const many = [arrive(), arrive(), arrive()];
  await waitFor(() => inside(many) === 2 && many.some((socket) => socket.closed));
  const other = arrive("127.0.0.2");
  await waitFor(() => other.heard === "welcome");
  expect(gate.counts).toEqual({ open: 3, refused: 1 });
});

test("the server has its limit, and a place that becomes free is given again", async () => {
  await open({ inAll: 2 });
  const [first] = [arrive(), arrive("127.0.0.2")];
  await waitFor(() => served.length === 2);
  const third = arrive("127.0.0.3");
  await waitFor(() => third.closed);
  first?.destroy();
  await waitFor(() => gate.counts.open === 1);
  const fourth = arrive("127.0.0.4");
  await waitFor(() => fourth.heard === "welcome");
});

test("nothing is kept of connections that are gone", async () => {
  await open({ unprovenPerAddress: 5 });
  const many = await arriveMany(50);
  await waitFor(() => inside(many) === 5);
  for (const socket of many) socket.destroy();
  await waitFor(() => gate.counts.open === 0);
});
