import { createServer } from "node:net";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Health } from "../../gen/grpc/health/v1/health_pb.js";
import type { Config, ListenAddress } from "../config.ts";
import { error, type Finding, ok } from "./finding.ts";

/** Whether the server can listen where its settings say, or one does already. */
export async function checkPorts(config: Config): Promise<Finding[]> {
  return await Promise.all([
    checkPort("DROVER_HTTP_ADDR", config.httpAddress, config),
    checkPort("DROVER_GRPC_ADDR", config.grpcAddress, config),
  ]);
}

async function checkPort(setting: string, address: ListenAddress, config: Config): Promise<Finding> {
  const { host, port } = address;
  const words = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  const problem = await bindingProblem(address);
  if (problem === undefined) {
    return ok(
      "ports",
      port === 0 ? `${setting} takes any free port of ${host}.` : `${setting}: ${words} is free.`,
    );
  }
  if (problem === "EADDRINUSE" && (await isDrover(address, config)))
    return ok("ports", `${setting}: a Drover server answers at ${words}.`);
  const [what, cure] = problems[problem] ?? [`cannot be listened on (${problem})`, "Choose another address"];
  return error("ports", `${setting}: ${words} ${what}.`, `${cure}: ${setting} names it.`);
}

const problems: Record<string, [what: string, cure: string]> = {
  EADDRINUSE: ["is used by another program", "End that program, or choose another port"],
  EADDRNOTAVAIL: ["is no address of this machine", "Choose an address that this machine has"],
  EACCES: ["is a port that this user may not listen on", "Choose a port from 1024 on"],
  ENOTFOUND: ["is a name that nobody knows", "Correct the name, or give a numeric address"],
};

/** The system's code for why nobody can listen there now; undefined when somebody can. */
function bindingProblem({ host, port }: ListenAddress): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}

const ANSWER_WITHIN_MS = 3_000;

/** Both ports answer the health service, which asks for no token. */
async function isDrover({ host, port }: ListenAddress, { tlsCert }: Config): Promise<boolean> {
  const anywhere = host === "0.0.0.0" || host === "::";
  const name = anywhere ? "127.0.0.1" : host.includes(":") ? `[${host}]` : host;
  const transport = createGrpcTransport({
    baseUrl: `${tlsCert === undefined ? "http" : "https"}://${name}:${port}`,
    // Nothing is sent that is worth hiding, and the certificate may be for any name.
    ...(tlsCert !== undefined && { nodeOptions: { rejectUnauthorized: false } }),
  });
  try {
    await createClient(Health, transport).check({ service: DROVER_SERVICE }, { timeoutMs: ANSWER_WITHIN_MS });
    return true;
  } catch (error) {
    return isCertificateWanted(error);
  }
}

/** Other servers know nothing of this one. */
const DROVER_SERVICE = "drover.v1.FleetService";

/** A server that asks for a certificate of its clients is there, and more cannot be seen without one. */
function isCertificateWanted(error: unknown): boolean {
  return /certificate required|bad certificate|handshake failure/i.test(String(error));
}
