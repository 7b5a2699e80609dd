/** What a stream costs at the least: grpc-js alone, which sends back what it gets. */
import { Server, ServerCredentials, type ServerDuplexStream } from "@grpc/grpc-js";

const asIs = (bytes: Buffer) => bytes;
const server = new Server({ "grpc.max_concurrent_streams": 256, "grpc.enable_channelz": 0 });
server.addService(
  {
    Session: {
      path: "/drover.v1.AgentService/Session",
      requestStream: true,
      responseStream: true,
      requestSerialize: asIs,
      requestDeserialize: asIs,
      responseSerialize: asIs,
      responseDeserialize: asIs,
    },
  },
  {
    Session(call: ServerDuplexStream<Buffer, Buffer>) {
      call.on("data", (message: Buffer) => call.write(message));
      call.on("end", () => call.end());
    },
  },
);
server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (_, port) => process.send?.(port));
process.on("disconnect", () => process.exit(0));
