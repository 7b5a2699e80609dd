/** A process that sends heartbeats, or what rivals have in their place, as fast as it is told; see load.ts. */
import { connect } from "node:net";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import type { BusyAgent } from "./fleet.ts";
import type { Order, Sent, Target } from "./load.ts";
import { callScript, jsonScript, keepAliveScript, type Script, sessionScript } from "./messages.ts";

/** One that sends a message and hears of its answer before it sends the next. */
interface Sender {
  send(): void;
}

type Answered = (sender: Sender) => void;
/** Opens a sender; resolves when it is ready. */
type Open = (answered: Answered) => Promise<Sender>;

const asIs = (bytes: Buffer) => bytes;
const fail = (error: unknown) => {
  process.send?.({ failed: String(error) });
  process.exit(1);
};

function clients(address: string, count: number): Client[] {
  return Array.from(
    { length: count },
    () => new Client(address, credentials.createInsecure(), { "grpc.use_local_subchannel_pool": 1 }),
  );
}

function streamSender(
  client: Client,
  path: string,
  metadata: Metadata,
  script: Script,
  isGood: (answer: Buffer) => boolean,
): Open {
  return (answered) =>
    new Promise((resolve) => {
      const stream = client.makeBidiStreamRequest(path, asIs, asIs, metadata);
      const sender: Sender = { send: () => void stream.write(script.next()) };
      let isReady = false;
      stream.on("error", fail);
      stream.on("data", (answer: Buffer) => {
        if (isReady) {
          if (!isGood(answer)) fail(`an answer of ${answer.toString("latin1")}`);
          answered(sender);
        } else {
          isReady = true;
          resolve(sender);
        }
      });
      stream.write(script.hello ?? script.next());
    });
}

function callSender(client: Client, agent: BusyAgent): Open {
  const script = callScript(agent);
  const metadata = metadataOf(agent);
  return async (answered) => {
    const sender: Sender = {
      send() {
        client.makeUnaryRequest(
          "/drover.v1.AgentService/Heartbeat",
          asIs,
          asIs,
          script.next(),
          metadata,
          (error) => {
            if (error !== null) fail(error);
            answered(sender);
          },
        );
      },
    };
    return sender;
  };
}

/** HTTP/1.1 on a connection that is kept; the client does no more than it must. */
function jsonSender(url: string, agent: BusyAgent): Open {
  const { hostname, port, pathname } = new URL(url);
  const next = jsonScript(agent);
  const head = `POST ${pathname} HTTP/1.1\r\nhost: ${hostname}\r\nauthorization: Bearer ${agent.token}\r\ncontent-type: application/json\r\ncontent-length: `;
  return (answered) =>
    new Promise((resolve) => {
      const socket = connect({ host: hostname, port: Number(port), noDelay: true });
      const sender: Sender = {
        send() {
          const body = next();
          socket.write(`${head}${body.length}\r\n\r\n${body}`);
        },
      };
      let received = "";
      socket.on("error", fail);
      socket.on("connect", () => resolve(sender));
      socket.on("data", (chunk) => {
        received += chunk.toString("latin1");
        const bodyAt = received.indexOf("\r\n\r\n") + 4;
        if (bodyAt < 4) return;
        const length = Number(
          /\r\ncontent-length: (\d+)\r\n/i.exec(received.slice(0, bodyAt))?.[1] ?? Number.NaN,
        );
        if (received.length < bodyAt + length) return;
        if (!received.startsWith("HTTP/1.1 200 ")) fail(received);
        received = "";
        answered(sender);
      });
    });
}

function metadataOf({ token }: BusyAgent): Metadata {
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${token}`);
  return metadata;
}

async function grantLeases(client: Client, count: number): Promise<bigint[]> {
  const grant = (place: number) =>
    new Promise<bigint>((resolve, reject) => {
      const id = BigInt(place + 1) * 7919n;
      // LeaseGrantRequest: TTL 3600, ID.
      const request = Buffer.concat([
        Buffer.from([0x08, 0x90, 0x1c, 0x10]),
        keepAliveScript(id).next().subarray(1),
      ]);
      client.makeUnaryRequest("/etcdserverpb.Lease/LeaseGrant", asIs, asIs, request, (error) =>
        error === null ? resolve(id) : reject(error),
      );
    });
  return await Promise.all(Array.from({ length: count }, (_, place) => grant(place)));
}

async function openAll(target: Target, connections: number): Promise<Open[]> {
  const all = target.kind === "json" ? [] : clients(target.address, connections);
  const clientOf = (place: number) => {
    const client = all[place % all.length];
    if (client === undefined) throw new Error("no connection");
    return client;
  };
  switch (target.kind) {
    case "session":
      return target.agents.map((agent, place) =>
        // The answer's second field, of the oneof, is the heartbeat's; a refusal has another number.
        streamSender(
          clientOf(place),
          "/drover.v1.AgentService/Session",
          metadataOf(agent),
          sessionScript(agent),
          (answer) => answer[2] === 0x1a,
        ),
      );
    case "call":
      return target.agents.map((agent, place) => callSender(clientOf(place), agent));
    case "json":
      return target.agents.map((agent) => jsonSender(target.url, agent));
    case "keep-alive": {
      const leases = await grantLeases(clientOf(0), target.leases);
      return leases.map((id, place) =>
        streamSender(
          clientOf(place),
          "/etcdserverpb.Lease/LeaseKeepAlive",
          new Metadata(),
          keepAliveScript(id),
          () => true,
        ),
      );
    }
  }
}

let senders: Sender[] = [];
let onAnswer: Answered = () => {};

async function sendAll(some: readonly Sender[], forMs: number): Promise<Sent> {
  const cpu = process.cpuUsage();
  const startedMs = performance.now();
  let answered = 0;
  let pending = some.length;
  const { promise: quiet, resolve: beQuiet } = Promise.withResolvers<void>();
  let isOver = false;
  onAnswer = (sender) => {
    if (!isOver) {
      answered += 1;
      sender.send();
    } else {
      pending -= 1;
      if (pending === 0) beQuiet();
    }
  };
  for (const sender of some) sender.send();
  await new Promise((resolve) => setTimeout(resolve, forMs));
  isOver = true;
  const elapsedMs = performance.now() - startedMs;
  const { user, system } = process.cpuUsage(cpu);
  await quiet;
  return {
    answered,
    perSecond: (answered / elapsedMs) * 1000,
    p50Ms: Number.NaN,
    p99Ms: Number.NaN,
    clientUs: (user + system) / answered,
  };
}

/** So many a second, each by a sender that is free; time counts from when it was due, not from when it could be sent. */
async function sendPaced(some: readonly Sender[], forMs: number, perSecond: number): Promise<Sent> {
  const cpu = process.cpuUsage();
  const startedMs = performance.now();
  const dueMs = new Map<Sender, number>();
  const free = [...some];
  const times: number[] = [];
  const total = Math.floor((forMs / 1000) * perSecond);
  let sent = 0;
  const { promise: quiet, resolve: beQuiet } = Promise.withResolvers<void>();
  const sendDue = () => {
    const due = Math.min(total, Math.floor(((performance.now() - startedMs) / 1000) * perSecond));
    while (sent < due && free.length > 0) {
      const sender = free.shift();
      if (sender === undefined) break;
      dueMs.set(sender, startedMs + (sent / perSecond) * 1000);
      sent += 1;
      sender.send();
    }
  };
  onAnswer = (sender) => {
    times.push(performance.now() - (dueMs.get(sender) ?? Number.NaN));
    free.push(sender);
    if (times.length === total) beQuiet();
  };
  const timer = setInterval(sendDue, 1);
  await quiet;
  clearInterval(timer);
  const elapsedMs = performance.now() - startedMs;
  const { user, system } = process.cpuUsage(cpu);
  times.sort((a, b) => a - b);
  const at = (share: number) => times[Math.ceil(share * times.length) - 1] ?? Number.NaN;
  return {
    answered: total,
    perSecond: (total / elapsedMs) * 1000,
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    clientUs: (user + system) / total,
  };
}

async function obey(order: Order): Promise<unknown> {
  if (order.do === "send") {
    const some = senders.slice(0, order.senders);
    return await (order.perSecond === undefined
      ? sendAll(some, order.forMs)
      : sendPaced(some, order.forMs, order.perSecond));
  }
  const opens = await openAll(order.target, order.connections);
  senders = [];
  // Not all at once: what is measured here is not the rush of the opening.
  for (let from = 0; from < opens.length; from += 100) {
    const some = opens.slice(from, from + 100).map((open) => open((sender) => onAnswer(sender)));
    senders.push(...(await Promise.all(some)));
  }
  return { senders: senders.length };
}

process.on("message", (order: Order) => {
  obey(order).then((answer) => process.send?.(answer), fail);
});
process.on("disconnect", () => process.exit(0));
