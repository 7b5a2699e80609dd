/** What runs in the page: real connect-web clients, driven from the test by `callFromPage`. */
import {
  create,
  type DescMethod,
  type DescMethodUnary,
  fromBinary,
  type Message,
  toBinary,
} from "@bufbuild/protobuf";
import { base64Decode, base64Encode } from "@bufbuild/protobuf/wire";
import { ConnectError } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { EventService } from "../../gen/drover/v1/event_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { PassService } from "../../gen/drover/v1/pass_service_pb.js";
import { ProjectService } from "../../gen/drover/v1/project_service_pb.js";
import { TaskService } from "../../gen/drover/v1/task_service_pb.js";
import { TokenService } from "../../gen/drover/v1/token_service_pb.js";
import { TrackerService } from "../../gen/drover/v1/tracker_service_pb.js";
import { Health } from "../../gen/grpc/health/v1/health_pb.js";
import { messageOfBytes } from "./message-of-bytes.ts";

/** A call as the test describes it; the request is base64 of bytes, or JSON that is sent as it is. */
export interface PageCall {
  baseUrl: string;
  protocol: "connect" | "grpc-web";
  service: string;
  method: string;
  headers: Record<string, string>;
  request: { bytes: string } | { message: string } | { json: string };
}

export type PageAnswer =
  | { ok: true; message: string }
  | {
      ok: false;
      code: number;
      message: string;
      details: { type: string; value: string }[];
      headers: [string, string][];
    };

const services = [
  AgentService,
  EventService,
  FleetService,
  PassService,
  ProjectService,
  TaskService,
  TokenService,
  TrackerService,
  Health,
];

async function callFromPage(call: PageCall): Promise<PageAnswer> {
  const method = services
    .flatMap((service): DescMethod[] => service.methods)
    .find(({ name, parent }) => name === call.method && parent.typeName === call.service);
  if (method === undefined || !isUnary(method)) throw new Error(`${call.method} cannot be called`);
  const transport = transportFor(call);
  try {
    const answer = await transport.unary(method, undefined, undefined, call.headers, requestOf(method, call));
    return { ok: true, message: base64Encode(toBinary(method.output, answer.message)) };
  } catch (reason) {
    const error = ConnectError.from(reason);
    return {
      ok: false,
      code: error.code,
      message: error.rawMessage,
      details: error.details.map((detail) => {
        if ("desc" in detail) throw new Error("a received error holds its details as bytes");
        return { type: detail.type, value: base64Encode(detail.value) };
      }),
      headers: [...error.metadata],
    };
  }
}

function isUnary(method: DescMethod): method is DescMethodUnary {
  return method.methodKind === "unary";
}

function transportFor({ baseUrl, protocol, request }: PageCall) {
  if (protocol === "grpc-web") return createGrpcWebTransport({ baseUrl });
  if (!("json" in request)) return createConnectTransport({ baseUrl, useBinaryFormat: false });
  // JSON that no library would write goes out in place of what this one wrote.
  const withBody: typeof fetch = (input, init) => fetch(input, { ...init, body: request.json });
  return createConnectTransport({ baseUrl, useBinaryFormat: false, fetch: withBody });
}

function requestOf(method: DescMethodUnary, { request }: PageCall): Message {
  if ("message" in request) return fromBinary(method.input, base64Decode(request.message));
  if ("json" in request) return create(method.input);
  return messageOfBytes(method.input, base64Decode(request.bytes));
}

Object.assign(globalThis, { callFromPage });
