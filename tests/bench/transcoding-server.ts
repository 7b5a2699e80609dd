/**
 * One rival of the transcoding benchmark, in a process of its own, so that its processor time is nobody else's:
 * `node transcoding-server.ts bare|rest|guarded|connect`. Sends its port to its parent, then its processor time in
 * microseconds for every message it gets.
 */
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ConnectRouter, Interceptor } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { AgentService, type HeartbeatResponseSchema } from "../../gen/drover/v1/agent_service_pb.js";
import { serve } from "../../src/doors/door.ts";
import { createTranscoder } from "../../src/transcoder/transcoder.ts";

// A heartbeat that changed nothing, the call that a control plane gets most.
const ANSWER: MessageInitShape<typeof HeartbeatResponseSchema> = {
  acknowledged: true,
  agentStatus: AgentStatus.BUSY,
  nextHeartbeat: { seconds: 15n },
};

const implementation = { heartbeat: () => ANSWER };

const rivals: Record<string, () => RequestListener> = {
  bare,
  rest() {
    const transcoder = createTranscoder({ services: [serve(AgentService, implementation)] });
    return (request, response) => void transcoder.handle(request, response);
  },
  /** The same with an interceptor that looks at a header, as whoever asks for a token has to. */
  guarded() {
    const interceptors: Interceptor[] = [
      (next) => (request) => {
        if (!request.header.get("authorization")?.startsWith("Bearer ")) throw new Error("no token");
        return next(request);
      },
    ];
    const transcoder = createTranscoder({ services: [serve(AgentService, implementation)], interceptors });
    return (request, response) => void transcoder.handle(request, response);
  },
  connect: () =>
    connectNodeAdapter({ routes: (router: ConnectRouter) => router.service(AgentService, implementation) }),
};

/** What no handler can do without: the body read and parsed, an answer of the same fields printed and sent. */
function bare(): RequestListener {
  return (request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const heartbeat = JSON.parse(Buffer.concat(chunks).toString("utf8")) as { status: string };
      const answer = {
        acknowledged: true,
        agentStatus: heartbeat.status,
        hasHighPriorityTasks: false,
        nextHeartbeat: "15s",
        duplicate: false,
        reportFullState: false,
      };
      const bytes = Buffer.from(JSON.stringify(answer));
      response.writeHead(200, { "content-type": "application/json", "content-length": bytes.length });
      response.end(bytes);
    });
  };
}

const listener = rivals[process.argv[2] ?? ""];
if (listener === undefined || process.send === undefined)
  throw new Error("started by the benchmark, with a rival's name");
const server = createServer(listener()).listen(0, "127.0.0.1", () => {
  // A server that listens on a port has an address of this kind.
  process.send?.((server.address() as AddressInfo).port);
});
process.on("message", () => {
  const { user, system } = process.cpuUsage();
  process.send?.(user + system);
});
process.on("disconnect", () => process.exit());
