import { type Client, createClient, type Transport } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcWebTransport,
  Http2SessionManager,
} from "@connectrpc/connect-node";
import { AgentService, type EnrollResponse } from "../../gen/drover/v1/agent_service_pb.js";
import { EventService } from "../../gen/drover/v1/event_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { ProjectService } from "../../gen/drover/v1/project_service_pb.js";
import { TaskService } from "../../gen/drover/v1/task_service_pb.js";
import { TokenRole, TokenService } from "../../gen/drover/v1/token_service_pb.js";
import { createGrpcJsTransport } from "./grpc-js-transport.ts";
import { createRestTransport } from "./rest-transport.ts";
import type { ServerProcess } from "./server-process.ts";

export const DOORS = ["grpc", "connect", "grpc-web", "rest"] as const;
export type DoorName = (typeof DOORS)[number];

export interface OperatorApi {
  fleet: Client<typeof FleetService>;
  tokens: Client<typeof TokenService>;
  events: Client<typeof EventService>;
  projects: Client<typeof ProjectService>;
  tasks: Client<typeof TaskService>;
}

/** Calls to one server through any door; `close` ends its connections. */
export interface Fleet {
  agent(token: string, door?: DoorName): Client<typeof AgentService>;
  /** With `project`, speaks for that project, which only the server's own operator token may. */
  operator(token: string, project?: string): OperatorApi;
  close(): void;
}

export function connectFleet(server: Pick<ServerProcess, "httpUrl" | "grpcTarget">): Fleet {
  const baseUrl = server.httpUrl;
  const sessionManager = new Http2SessionManager(baseUrl);
  const grpc = createGrpcJsTransport(server.grpcTarget);
  const connect = createConnectTransport({ baseUrl, httpVersion: "2", sessionManager });
  const transports = {
    grpc,
    connect,
    "grpc-web": createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }),
    rest: createRestTransport(baseUrl),
  } satisfies Record<DoorName, Transport>;
  return {
    agent: (token, door = "connect") => createClient(AgentService, withHeaders(transports[door], { token })),
    operator(token, project) {
      const transport = withHeaders(connect, { token, ...(project !== undefined && { project }) });
      return {
        fleet: createClient(FleetService, transport),
        tokens: createClient(TokenService, transport),
        events: createClient(EventService, transport),
        projects: createClient(ProjectService, transport),
        tasks: createClient(TaskService, transport),
      };
    },
    close() {
      grpc.close();
      sessionManager.abort();
    },
  };
}

function withHeaders(
  transport: Transport,
  { token, project }: { token: string; project?: string },
): Transport {
  const add = (given: HeadersInit | undefined): Headers => {
    const header = new Headers(given);
    header.set("authorization", `Bearer ${token}`);
    if (project !== undefined) header.set("x-drover-project", project);
    return header;
  };
  return {
    unary: (method, signal, timeoutMs, header, input, values) =>
      transport.unary(method, signal, timeoutMs, add(header), input, values),
    stream: (method, signal, timeoutMs, header, input, values) =>
      transport.stream(method, signal, timeoutMs, add(header), input, values),
  };
}

/** An enrolled agent with its token. */
export interface EnrolledAgent {
  name: string;
  /** UUID of its rows. */
  uuid: string;
  token: string;
}

let lastName = 0;

/** Enrolls agents of new names, by an enrollment token minted for them. */
export async function enrollAgents(
  fleet: Fleet,
  operator: OperatorApi,
  count: number,
): Promise<EnrolledAgent[]> {
  const enrollment = await operator.tokens.createToken({ role: TokenRole.ENROLLMENT, maxUses: count });
  const enroller = fleet.agent(enrollment.secret);
  return await Promise.all(
    Array.from({ length: count }, async () => {
      lastName += 1;
      return enrolledAgent(await enroller.enroll({ name: `agent-${process.pid}-${lastName}` }));
    }),
  );
}

export async function enrollAgent(fleet: Fleet, operator: OperatorApi): Promise<EnrolledAgent> {
  const [agent] = await enrollAgents(fleet, operator, 1);
  if (agent === undefined) throw new Error("no agent was enrolled");
  return agent;
}

export function enrolledAgent({ agent, secret }: EnrollResponse): EnrolledAgent {
  if (agent === undefined) throw new Error("the answer to an enrollment holds no agent");
  return { name: agent.name, uuid: agent.id.replace("agent_", ""), token: secret };
}
