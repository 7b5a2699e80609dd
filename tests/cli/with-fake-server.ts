import { afterEach } from "vitest";
import { type Ran, type RunOptions, runDrover } from "../helpers/run-drover.ts";
import { runInProcess } from "../helpers/run-in-process.ts";
import { type FakeRestServer, startFakeRestServer } from "./fake-rest-server.ts";

type Answering = Parameters<typeof startFakeRestServer>[0];

const started: FakeRestServer[] = [];

afterEach(async () => {
  for (const server of started.splice(0)) await server.stop();
});

/** A fake server that ends with the test. */
export async function fakeServer(answer: Answering): Promise<FakeRestServer> {
  const server = await startFakeRestServer(answer);
  started.push(server);
  return server;
}

/** Runs one command against a server, as an operator; by the real bin where it reads standard input. */
export function runAgainst(
  server: FakeRestServer,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Ran> {
  const env = { DROVER_URL: server.url, DROVER_TOKEN: "drv_opr_id_secret_check", ...options.env };
  const { stdin } = options;
  return stdin === undefined ? runInProcess(args, { ...options, env }) : runDrover(args, { ...options, env });
}
