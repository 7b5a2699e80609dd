import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { AgentService, type Command, type SessionResponse } from "../../gen/drover/v1/agent_service_pb.js";
import type { Task } from "../../gen/drover/v1/task_pb.js";
import { messageOf, refusalOf } from "../helpers/door-client.ts";
import { DOORS, type DoorSuite } from "../helpers/door-suite.ts";
import { AgentLine, openTransport, type Saying, WAYS } from "../sessions/agent-line.ts";

const { claimTasks, completeTask, failTask, heartbeat, updateTask } = AgentService.method;

/** Every way in which an agent can speak of tasks: by calls through each door, and by messages on each stream. */
export const AGENT_WAYS = [...DOORS, ...WAYS.map((way) => `the stream, ${way}` as const)];
export type AgentWay = (typeof AGENT_WAYS)[number];

/** The calls of tasks, which are messages of the same shape on a stream. */
const sayings = {
  [heartbeat.name]: "heartbeat",
  [updateTask.name]: "taskUpdate",
  [completeTask.name]: "taskComplete",
  [failTask.name]: "taskFail",
} as const;

// A task that failed may not be due again yet.
const wait = { seconds: 10n };

export interface Refused {
  /** A code of google.rpc.Code. */
  code: number;
  reason: string;
}

/** An agent that speaks in one way. */
export interface AgentVoice {
  /** Gets `count` tasks of the kind, which are waiting or will be due together. */
  take(kind: string, count: number): Promise<Task[]>;
  tell<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
  ): Promise<MessageShape<O>>;
  tellRefused<I extends DescMessage>(
    method: DescMethodUnary<I>,
    request: MessageInitShape<I>,
  ): Promise<Refused>;
  /** The next command, by the way in which commands come here. */
  nextCommand(): Promise<Command | undefined>;
  close(): void;
}

export async function voiceOf(suite: DoorSuite, way: AgentWay, token: string): Promise<AgentVoice> {
  const door = DOORS.find((name) => name === way);
  if (door !== undefined) return callingVoice(suite, door, token);
  const stream = WAYS.find((name) => way.endsWith(name));
  if (stream === undefined) throw new Error(`${way} is no way`);
  const transport = openTransport(suite.server, stream);
  const line = new AgentLine(transport, token);
  await line.hello("boot-1");
  return streamingVoice(line, transport);
}

function callingVoice(suite: DoorSuite, door: (typeof DOORS)[number], token: string): AgentVoice {
  const client = suite.door(door);
  return {
    async take(kind, count) {
      return messageOf(await client.call(claimTasks, { kinds: [kind], max: count, wait }, { token })).tasks;
    },
    tell: async (method, request) => messageOf(await client.call(method, request, { token })),
    async tellRefused(method, request) {
      const { code, reason = "" } = refusalOf(await client.call(method, request, { token }));
      return { code, reason };
    },
    async nextCommand() {
      return messageOf(await client.call(heartbeat, { status: AgentStatus.ONLINE }, { token })).commands[0];
    },
    close() {},
  };
}

function streamingVoice(line: AgentLine, transport: Transport & { close(): void }): AgentVoice {
  /** What came of the server's own accord. */
  const pushed: SessionResponse["message"][] = [];
  const next = async () => {
    const heard = await line.hear();
    if (heard === undefined) throw new Error("the stream has ended");
    return heard;
  };
  const ask = async (message: Saying) => {
    const id = line.say(message);
    for (;;) {
      const heard = await next();
      if (heard.inReplyTo === id) return heard.message;
      pushed.push(heard.message);
    }
  };
  const nextPushed = async <C extends "assignment" | "command">(wanted: C) => {
    for (;;) {
      const index = pushed.findIndex((message) => message.case === wanted);
      const [found] = index === -1 ? [] : pushed.splice(index, 1);
      if (found?.case === wanted) return found as Extract<typeof found, { case: C }>;
      pushed.push((await next()).message);
    }
  };
  const askAs = (method: DescMethodUnary, request: object) => {
    const name = sayings[method.name];
    if (name === undefined) throw new Error(`${method.name} is no message of a stream`);
    // The messages of a stream are the requests of the calls.
    return ask({ case: name, value: request } as Saying);
  };
  return {
    async take(kind, count) {
      await ask({ case: "ready", value: { slots: count, kinds: [kind] } });
      const tasks: Task[] = [];
      while (tasks.length < count) tasks.push((await nextPushed("assignment")).value);
      return tasks;
    },
    async tell<I extends DescMessage, O extends DescMessage>(
      method: DescMethodUnary<I, O>,
      request: MessageInitShape<I>,
    ) {
      const answer = await askAs(method, request);
      if (answer.case !== sayings[method.name])
        throw new Error(`${method.name} was answered by ${answer.case}: ${String(answer.value)}`);
      // A message is answered by the response of the call that it is.
      return answer.value as unknown as MessageShape<O>;
    },
    async tellRefused(method, request) {
      const answer = await askAs(method, request);
      if (answer.case !== "refusal") throw new Error(`${method.name} was answered by ${answer.case}`);
      const { code, reason } = answer.value;
      return { code, reason };
    },
    nextCommand: async () => (await nextPushed("command")).value,
    close() {
      line.cancel();
      transport.close();
    },
  };
}
