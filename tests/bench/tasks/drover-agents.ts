/** Agents of Drover that claim and complete by native gRPC; messages are read no further than they must. */
import { setTimeout as delay } from "node:timers/promises";
import {
  create,
  type DescMessage,
  fromBinary,
  fromJson,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { Client, type ClientDuplexStream, credentials, Metadata } from "@grpc/grpc-js";
import { AgentStatus } from "../../../gen/drover/v1/agent_pb.js";
import {
  ClaimTasksRequestSchema,
  ClaimTasksResponseSchema,
  HeartbeatRequestSchema,
  SessionRequestSchema,
  type SessionResponse,
  SessionResponseSchema,
} from "../../../gen/drover/v1/agent_service_pb.js";
import { CreateTaskRequestSchema } from "../../../gen/drover/v1/task_service_pb.js";
import { restMs, type Setting, serve, timed } from "./contender.ts";
import { AWAITED_KIND, KIND, PAYLOAD } from "./task-table.ts";

export interface Opening {
  address: string;
  /** One agent's each. */
  tokens: string[];
  operator: string;
  connections: number;
}

const asIs = (bytes: Buffer) => bytes;
/** The answer's field that says a completion was taken; a refusal has another number. */
const TASK_COMPLETE = 0x32;
const RESULT = fromJson(ValueSchema, { found: 3 });

type Said = NonNullable<
  Extract<MessageInitShape<typeof SessionRequestSchema>, { message?: unknown }>["message"]
>;

class Agent {
  readonly #client: Client;
  readonly #metadata: Metadata;
  readonly #stream: ClientDuplexStream<Buffer, Buffer>;
  readonly #answers: ((answer: Buffer) => void)[] = [];
  /** Hears of what the server says of its own accord. */
  onAssignment: (answer: SessionResponse) => void = () => {};

  constructor(client: Client, token: string) {
    this.#client = client;
    this.#metadata = metadataOf(token);
    this.#stream = client.makeBidiStreamRequest(
      "/drover.v1.AgentService/Session",
      asIs,
      asIs,
      this.#metadata,
    );
    this.#stream.on("error", (error: Error) => {
      throw error;
    });
    this.#stream.on("data", (answer: Buffer) => {
      // The first field is in_reply_to, which is left out where it is 0.
      if (answer[0] === 0x08) this.#answers.shift()?.(answer);
      else this.onAssignment(fromBinary(SessionResponseSchema, answer));
    });
  }

  async begin(): Promise<void> {
    await this.say({ case: "hello", value: { bootId: "bench" } });
  }

  /** Answers come in the order of what was said. */
  async say(message: Said): Promise<Buffer> {
    const request = create(SessionRequestSchema, { id: 1n, message });
    this.#stream.write(Buffer.from(toBinary(SessionRequestSchema, request)));
    return await new Promise((resolve) => this.#answers.push(resolve));
  }

  async complete(task: string, leaseEpoch: bigint): Promise<void> {
    const answer = await this.say({
      case: "taskComplete",
      value: { task, leaseEpoch, result: RESULT },
    });
    if (answer[2] !== TASK_COMPLETE)
      throw new Error(JSON.stringify(fromBinary(SessionResponseSchema, answer).message.value));
  }

  async claim(max: number) {
    const request = { kinds: [KIND], max };
    const { tasks } = await call(
      this.#client,
      "AgentService/ClaimTasks",
      [ClaimTasksRequestSchema, request, ClaimTasksResponseSchema],
      this.#metadata,
    );
    return tasks;
  }

  async beat(): Promise<void> {
    await this.say({
      case: "heartbeat",
      value: create(HeartbeatRequestSchema, { status: AgentStatus.ONLINE }),
    });
  }
}

function metadataOf(token: string): Metadata {
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${token}`);
  return metadata;
}

async function call<I extends DescMessage, O extends DescMessage>(
  client: Client,
  method: string,
  [input, request, output]: [I, MessageInitShape<I>, O],
  metadata: Metadata,
): Promise<MessageShape<O>> {
  const bytes = Buffer.from(toBinary(input, create(input, request)));
  const answer = await new Promise<Buffer>((resolve, reject) => {
    client.makeUnaryRequest(`/drover.v1.${method}`, asIs, asIs, bytes, metadata, (error, value) =>
      error === null && value !== undefined ? resolve(value) : reject(error),
    );
  });
  return fromBinary(output, answer);
}

let agents: Agent[] = [];
let createTask: () => Promise<void> = async () => {};

async function open({ address, tokens, operator, connections }: Opening): Promise<void> {
  const clients = Array.from(
    { length: connections },
    () => new Client(address, credentials.createInsecure(), { "grpc.use_local_subchannel_pool": 1 }),
  );
  agents = tokens.map((token, place) => {
    const client = clients[place % clients.length];
    if (client === undefined) throw new Error("no connection");
    return new Agent(client, token);
  });
  await Promise.all(agents.map((agent) => agent.begin()));
  const operatorClient = new Client(address, credentials.createInsecure(), {
    "grpc.use_local_subchannel_pool": 1,
  });
  const metadata = metadataOf(operator);
  const request = Buffer.from(
    toBinary(
      CreateTaskRequestSchema,
      create(CreateTaskRequestSchema, { kind: AWAITED_KIND, payload: fromJson(ValueSchema, PAYLOAD) }),
    ),
  );
  createTask = () =>
    new Promise((resolve, reject) => {
      operatorClient.makeUnaryRequest(
        "/drover.v1.TaskService/CreateTask",
        asIs,
        asIs,
        request,
        metadata,
        (error) => (error === null ? resolve() : reject(error)),
      );
    });
}

async function drain({ concurrency, batch }: Setting, tasks: number) {
  const some = agents.slice(0, concurrency);
  await Promise.all(some.map((agent) => agent.beat()));
  let left = tasks;
  const work = async (agent: Agent) => {
    while (left > 0) {
      const claimed = await agent.claim(batch);
      left -= claimed.length;
      await Promise.all(claimed.map(({ id, lease }) => agent.complete(id, lease?.epoch ?? 0n)));
    }
  };
  return await timed(tasks, async () => {
    await Promise.all(some.map(work));
  });
}

async function awaitEach(tasks: number): Promise<number[]> {
  const [agent] = agents;
  if (agent === undefined) throw new Error("no agent");
  await agent.beat();
  const latencies: number[] = [];
  for (let task = 0; task <= tasks; task += 1) {
    const assigned = Promise.withResolvers<SessionResponse>();
    agent.onAssignment = assigned.resolve;
    await agent.say({ case: "ready", value: { slots: 1, kinds: [AWAITED_KIND] } });
    await delay(restMs());
    const createdMs = performance.now();
    const created = createTask();
    const { message } = await assigned.promise;
    if (message.case !== "assignment") throw new Error(`${message.case} instead of an assignment`);
    const { id, lease } = message.value;
    const leaseEpoch = lease?.epoch ?? 0n;
    // An agent accepts before it begins, and the task runs from then on.
    await agent.say({ case: "taskUpdate", value: { task: id, leaseEpoch } });
    if (task > 0) latencies.push(performance.now() - createdMs);
    await created;
    await agent.complete(id, leaseEpoch);
  }
  return latencies;
}

serve<Opening>(async (order) => {
  switch (order.do) {
    case "open":
      await open(order);
      return undefined;
    case "drain":
      return await drain(order, order.tasks);
    case "await":
      return await awaitEach(order.tasks);
  }
});
