import { create, toBinary } from "@bufbuild/protobuf";
import { AgentStatus } from "../../../gen/drover/v1/agent_pb.js";
import { HeartbeatRequestSchema, SessionRequestSchema } from "../../../gen/drover/v1/agent_service_pb.js";
import type { BusyAgent } from "./fleet.ts";

/** One stream's or caller's messages, encoded once and changed in place: the client should cost as little as it can. */
export interface Script {
  /** What a stream begins with; undefined: nothing. */
  readonly hello: Buffer | undefined;
  /** The next message. Good until it is asked for again. */
  next(): Buffer;
}

/** Five bytes as a varint, and so is every number up to eight times it. */
const FIRST_SEQUENCE = 2 ** 28;
const BOOT_ID = "bench";
const PROGRESS = 0.123456789;

/** An agent's stream: hello, then heartbeats with a task whose progress changes. */
export function sessionScript(agent: BusyAgent): Script {
  const hello = create(SessionRequestSchema, {
    id: 1n,
    message: { case: "hello", value: { bootId: BOOT_ID } },
  });
  const heartbeat = create(SessionRequestSchema, {
    id: 2n,
    message: { case: "heartbeat", value: heartbeatOf(agent) },
  });
  return {
    hello: Buffer.from(toBinary(SessionRequestSchema, hello)),
    next: changing(Buffer.from(toBinary(SessionRequestSchema, heartbeat))),
  };
}

/** An agent's heartbeats as calls of their own. */
export function callScript(agent: BusyAgent): Script {
  return {
    hello: undefined,
    next: changing(Buffer.from(toBinary(HeartbeatRequestSchema, heartbeatOf(agent)))),
  };
}

/** The same heartbeats as JSON. */
export function jsonScript({ taskId }: BusyAgent): () => string {
  let sequence = FIRST_SEQUENCE;
  return () => {
    sequence += 1;
    return `{"status":"busy","currentTask":{"taskId":"${taskId}","leaseEpoch":"1","progress":${(sequence % 1000) / 1000}},"session":{"bootId":"${BOOT_ID}","sequence":"${sequence}"}}`;
  };
}

/** etcd's LeaseKeepAliveRequest, which is the lease's id alone. */
export function keepAliveScript(leaseId: bigint): Script {
  const bytes = [0x08];
  for (let left = BigInt.asUintN(64, leaseId); ; left >>= 7n) {
    const more = left > 0x7fn;
    bytes.push(Number(left & 0x7fn) | (more ? 0x80 : 0));
    if (!more) break;
  }
  const message = Buffer.from(bytes);
  return { hello: undefined, next: () => message };
}

function heartbeatOf({ taskId }: BusyAgent) {
  return create(HeartbeatRequestSchema, {
    status: AgentStatus.BUSY,
    currentTask: { taskId, leaseEpoch: 1n, progress: PROGRESS },
    session: { bootId: BOOT_ID, sequence: BigInt(FIRST_SEQUENCE) },
  });
}

function changing(message: Buffer): () => Buffer {
  const progress = Buffer.alloc(8);
  progress.writeDoubleLE(PROGRESS);
  const progressAt = placeOf(message, progress);
  const sequenceAt = placeOf(message, varint(FIRST_SEQUENCE));
  let sequence = FIRST_SEQUENCE;
  return () => {
    sequence += 1;
    message.writeDoubleLE((sequence % 1000) / 1000, progressAt);
    for (let index = 0, left = sequence; index < 5; index += 1, left = Math.floor(left / 128)) {
      message[sequenceAt + index] = (left % 128) | (index < 4 ? 0x80 : 0);
    }
    return message;
  };
}

function varint(value: number): Buffer {
  return Buffer.from(
    [0, 1, 2, 3, 4].map((index) => (Math.floor(value / 128 ** index) % 128) | (index < 4 ? 0x80 : 0)),
  );
}

function placeOf(message: Buffer, part: Buffer): number {
  const place = message.indexOf(part);
  if (place < 0 || message.indexOf(part, place + 1) >= 0)
    throw new Error("a message's part is not to be found once");
  return place;
}
