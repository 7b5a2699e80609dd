import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ServeOptions, type ServeProcess, spawnServe } from "./serve-process.ts";

export interface ServerOptions extends ServeOptions {
  /** Left out: the server runs its embedded PostgreSQL in `dataDir`. */
  databaseUrl?: string;
  /** Left out: a new folder, removed when the server ends. */
  dataDir?: string;
  /** Settings beside the addresses, such as DROVER_AGENT_TOKEN_TTL. */
  env?: Record<string, string>;
}

/** A `drover serve` that listens. */
export interface ServerProcess extends Pick<ServeProcess, "pid" | "output" | "exited"> {
  readonly httpUrl: string;
  /** `host:port` of the native door. */
  readonly grpcTarget: string;
  readonly dataDir: string;
  /** Undefined where the first start of this database wrote it to another folder. */
  readonly operatorToken: string | undefined;
  /** Lines of its JSON log so far. */
  log(): Record<string, unknown>[];
  running(): boolean;
  signal(signal: NodeJS.Signals): void;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** SIGTERM; resolves to how it ended. */
  stop(): Promise<number | NodeJS.Signals>;
}

/** Starts the server on free ports; resolves when it printed its addresses, rejects with its output when it ends first. */
export async function startServer(options: ServerOptions = {}): Promise<ServerProcess> {
  const { process, dataDir, ended } = await spawn(options);
  let running = true;
  process.exited.then(() => {
    running = false;
  });
  const { httpUrl, grpcAddress: grpcTarget } = await process.listening;
  return {
    httpUrl,
    grpcTarget,
    dataDir,
    pid: process.pid,
    exited: process.exited,
    operatorToken: await readOperatorToken(dataDir),
    output: process.output,
    log: () => jsonLines(process.output()),
    running: () => running,
    signal: process.kill,
    async kill() {
      process.kill("SIGKILL");
      await ended();
    },
    async stop() {
      process.kill("SIGTERM");
      return await ended();
    },
  };
}

/** Starts a server that is expected to refuse; resolves to how it ended and all that it printed. */
export async function refusedStart(
  options: ServerOptions,
): Promise<{ outcome: number | NodeJS.Signals; output: string }> {
  const { process, ended } = await spawn(options);
  const served = await process.listening.then(
    () => true,
    () => false,
  );
  if (served) process.kill("SIGKILL");
  const outcome = await ended();
  if (served) throw new Error(`the server started:\n${process.output()}`);
  return { outcome, output: process.output() };
}

async function spawn(options: ServerOptions) {
  const { databaseUrl, env, root, args } = options;
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), "drover-test-")));
  const settings = {
    DROVER_HTTP_ADDR: "127.0.0.1:0",
    DROVER_GRPC_ADDR: "127.0.0.1:0",
    DROVER_DATA_DIR: dataDir,
    ...(databaseUrl !== undefined && { DATABASE_URL: databaseUrl }),
    ...env,
  };
  const process = spawnServe(settings, {
    ...(root !== undefined && { root }),
    ...(args !== undefined && { args }),
  });
  const ended = async () => {
    const outcome = await process.exited;
    if (options.dataDir === undefined) await rm(dataDir, { recursive: true, force: true });
    return outcome;
  };
  return { process, dataDir, ended };
}

async function readOperatorToken(dataDir: string): Promise<string | undefined> {
  try {
    return (await readFile(join(dataDir, "operator.token"), "utf8")).trim();
  } catch {
    return undefined;
  }
}

function jsonLines(text: string): Record<string, unknown>[] {
  // The log's lines are objects; an unfinished last line is not there yet.
  return text
    .split("\n")
    .filter((line) => line.startsWith("{") && line.endsWith("}"))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
