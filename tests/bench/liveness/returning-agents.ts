/** A process of light agents, each with a stream of its own, that go to another server when theirs is lost. */
import { fromBinary } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { Client, type ClientDuplexStream, credentials, Metadata } from "@grpc/grpc-js";
import { SessionResponseSchema } from "../../../gen/drover/v1/agent_service_pb.js";
import type { BusyAgent } from "../heartbeats/fleet.ts";
import { type Script, sessionScript } from "../heartbeats/messages.ts";

export type Order =
  | { do: "know"; agents: BusyAgent[]; streamsPerConnection: number }
  /** All go to the one of these servers; answered when each was heard there. */
  | { do: "gather"; addresses: string[]; at: number }
  /** Answered when each was heard elsewhere than there, by the times of that. */
  | { do: "return"; from: number };

/** When each agent's first heartbeat on another server was acknowledged, in ms of the epoch. */
export interface Returned {
  times: number[];
}

const PATH = "/drover.v1.AgentService/Session";
/** As the SDK's: so much at first, doubled by each failure, and anything from nothing up to it. */
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 10_000;
/** So many at a time go where they are told, and not all at once: the rush of the return is what is measured. */
const GATHERING = 500;

const asIs = (bytes: Buffer) => bytes;
let addresses: string[] = [];
let streamsPerConnection = 1;
const clients = new Map<string, Client>();

/** One connection for each handful of agents, to each server. */
function clientFor(place: number, at: number): Client {
  const key = `${Math.floor(place / streamsPerConnection)} ${addresses[at]}`;
  let client = clients.get(key);
  if (client === undefined) {
    client = new Client(addresses[at] ?? "", credentials.createInsecure(), {
      "grpc.use_local_subchannel_pool": 1,
      "grpc.initial_reconnect_backoff_ms": FIRST_DELAY_MS,
      "grpc.max_reconnect_backoff_ms": LONGEST_DELAY_MS,
    });
    clients.set(key, client);
  }
  return client;
}

class ReturningAgent {
  readonly #place: number;
  readonly #script: Script;
  readonly #metadata = new Metadata();
  #stream: ClientDuplexStream<Buffer, Buffer> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #failures = 0;
  #intervalMs = 15_000;
  at = 0;
  /** When its first heartbeat by the stream that it has was acknowledged; undefined until then. */
  heardAtMs: number | undefined;

  constructor(agent: BusyAgent, place: number) {
    this.#place = place;
    this.#script = sessionScript(agent);
    this.#metadata.set("authorization", `Bearer ${agent.token}`);
  }

  open(at: number): void {
    clearTimeout(this.#timer);
    const before = this.#stream;
    this.at = at;
    this.heardAtMs = undefined;
    const stream = clientFor(this.#place, at).makeBidiStreamRequest(PATH, asIs, asIs, this.#metadata);
    this.#stream = stream;
    before?.cancel();
    stream.on("error", () => this.#lost(stream));
    stream.on("end", () => this.#lost(stream));
    stream.on("data", (bytes: Buffer) => this.#hear(stream, bytes));
    if (this.#script.hello !== undefined) stream.write(this.#script.hello);
  }

  #hear(stream: ClientDuplexStream<Buffer, Buffer>, bytes: Buffer): void {
    if (stream !== this.#stream) return;
    const { message } = fromBinary(SessionResponseSchema, bytes);
    if (message.case === "welcome") {
      if (message.value.heartbeatInterval !== undefined)
        this.#intervalMs = durationMs(message.value.heartbeatInterval);
      stream.write(this.#script.next());
      return;
    }
    if (message.case !== "heartbeat") return;
    this.heardAtMs ??= Date.now();
    this.#failures = 0;
    const { nextHeartbeat } = message.value;
    if (nextHeartbeat !== undefined) this.#intervalMs = durationMs(nextHeartbeat);
    this.#timer = setTimeout(() => stream.write(this.#script.next()), this.#intervalMs);
  }

  #lost(stream: ClientDuplexStream<Buffer, Buffer>): void {
    if (stream !== this.#stream) return;
    this.#stream = undefined;
    this.heardAtMs = undefined;
    clearTimeout(this.#timer);
    const longestMs = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#failures);
    this.#failures += 1;
    const others = addresses.map((_, at) => at).filter((at) => at !== this.at);
    const next = others[Math.floor(Math.random() * others.length)] ?? this.at;
    this.#timer = setTimeout(() => this.open(next), Math.random() * longestMs);
  }
}

let agents: ReturningAgent[] = [];

async function untilAll(isThere: (agent: ReturningAgent) => boolean): Promise<Returned> {
  while (!agents.every(isThere)) await new Promise((resolve) => setTimeout(resolve, 20));
  return { times: agents.map(({ heardAtMs }) => heardAtMs ?? Number.NaN) };
}

async function obey(order: Order): Promise<Returned> {
  switch (order.do) {
    case "know":
      streamsPerConnection = order.streamsPerConnection;
      agents = order.agents.map((agent, place) => new ReturningAgent(agent, place));
      return { times: [] };
    case "gather": {
      ({ addresses } = order);
      const here = (agent: ReturningAgent) => agent.at === order.at && agent.heardAtMs !== undefined;
      for (let from = 0; from < agents.length; from += GATHERING) {
        const some = agents.slice(from, from + GATHERING);
        for (const agent of some) agent.open(order.at);
        while (!some.every(here)) await new Promise((resolve) => setTimeout(resolve, 5));
      }
      return await untilAll(here);
    }
    case "return":
      return await untilAll((agent) => agent.at !== order.from && agent.heardAtMs !== undefined);
  }
}

process.on("message", (order: Order) => {
  obey(order).then(
    (answer) => process.send?.(answer),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});
process.on("disconnect", () => process.exit(0));
