import { connectFleet, type Fleet } from "../helpers/fleet-api.ts";
import { type ServerProcess, startServer } from "../helpers/server-process.ts";

/** One server of several, which may be another process after a restart and keeps its addresses. */
export interface Member {
  readonly process: ServerProcess;
  readonly fleet: Fleet;
  /** Starts it anew on the same ports; it has to have ended. */
  start(): Promise<void>;
}

/** Starts one on free ports. */
export async function startMember(options: {
  databaseUrl: string;
  dataDir: string;
  env: Record<string, string>;
}): Promise<Member> {
  let process = await startServer(options);
  const addresses = {
    DROVER_HTTP_ADDR: new URL(process.httpUrl).host,
    DROVER_GRPC_ADDR: process.grpcTarget,
  };
  // The addresses stay, so the connections' own way of coming back is what is tried.
  const fleet = connectFleet(process);
  return {
    get process() {
      return process;
    },
    fleet,
    async start() {
      process = await startServer({ ...options, env: { ...options.env, ...addresses } });
    },
  };
}
