import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { eventually } from "./eventually.ts";

const REPOSITORY = fileURLToPath(new URL("../..", import.meta.url));

export interface ServerOptions {
  /** Left out: the server runs its embedded PostgreSQL in `dataDir`. */
  databaseUrl?: string;
  /** Left out: a new folder, removed by `discard`. */
  dataDir?: string;
  /** The checkout whose server runs; another one than this for copies with planted bugs. */
  root?: string;
  /** Settings beside the addresses, such as DROVER_AGENT_TOKEN_TTL. */
  env?: Record<string, string>;
  args?: string[];
}

/** A real `drover serve` in a process of its own. */
export interface ServerProcess {
  readonly httpUrl: string;
  /** `host:port` of the native door. */
  readonly grpcTarget: string;
  readonly dataDir: string;
  readonly pid: number;
  /** Undefined where the first start of this database wrote it to another folder. */
  readonly operatorToken: string | undefined;
  /** All that it printed so far, its log included. */
  output(): string;
  /** Lines of the JSON log so far. */
  log(): Record<string, unknown>[];
  running(): boolean;
  signal(signal: NodeJS.Signals): void;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** SIGTERM; resolves to the exit code. */
  stop(): Promise<number | null>;
}

/** Starts the server on free ports; resolves when it printed its addresses, rejects with its output when it ends first. */
export async function startServer(options: ServerOptions = {}): Promise<ServerProcess> {
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), "drover-test-")));
  const child = spawnServer({ ...options, dataDir });
  const output = gather(child);
  const exited = once(child, "exit");
  const addresses = await readAddresses(child, output);
  const ended = async () => {
    await exited;
    if (options.dataDir === undefined) await rm(dataDir, { recursive: true, force: true });
    return child.exitCode;
  };
  return {
    ...addresses,
    dataDir,
    pid: child.pid ?? 0,
    operatorToken: await readOperatorToken(dataDir),
    output,
    log: () => jsonLines(output()),
    running: () => child.exitCode === null && child.signalCode === null,
    signal: (signal) => {
      child.kill(signal);
    },
    async kill() {
      child.kill("SIGKILL");
      await ended();
    },
    async stop() {
      child.kill("SIGTERM");
      return await ended();
    },
  };
}

/** Starts a server that is expected to refuse; resolves to its exit code and all that it printed. */
export async function refusedStart(options: ServerOptions): Promise<{ code: number | null; output: string }> {
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), "drover-test-")));
  const child = spawnServer({ ...options, dataDir });
  const output = gather(child);
  const served = eventually("the addresses of a server that should not have started", () =>
    addressesIn(output()),
  ).then(() => "served" as const);
  const outcome = await Promise.race([once(child, "close").then(() => "ended" as const), served]);
  if (outcome === "served") {
    child.kill("SIGKILL");
    throw new Error(`the server started:\n${output()}`);
  }
  if (options.dataDir === undefined) await rm(dataDir, { recursive: true, force: true });
  return { code: child.exitCode, output: output() };
}

function spawnServer(options: ServerOptions & { dataDir: string }): ChildProcess {
  const root = options.root ?? REPOSITORY;
  return spawn(process.execPath, [join(root, "bin/drover.js"), "serve", ...(options.args ?? [])], {
    cwd: root,
    env: {
      PATH: process.env["PATH"],
      HOME: process.env["HOME"],
      DROVER_HTTP_ADDR: "127.0.0.1:0",
      DROVER_GRPC_ADDR: "127.0.0.1:0",
      DROVER_DATA_DIR: options.dataDir,
      ...(options.databaseUrl !== undefined && { DATABASE_URL: options.databaseUrl }),
      ...options.env,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

function gather(child: ChildProcess): () => string {
  const chunks: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8");
    stream?.on("data", (chunk: string) => chunks.push(chunk));
  }
  return () => chunks.join("");
}

async function readAddresses(child: ChildProcess, output: () => string): Promise<Addresses> {
  return await eventually("a server that prints its addresses", () => {
    const found = addressesIn(output());
    if (found === undefined && (child.exitCode !== null || child.signalCode !== null)) {
      throw new Error(`the server ended at its start:\n${output()}`);
    }
    return found;
  });
}

interface Addresses {
  httpUrl: string;
  grpcTarget: string;
}

function addressesIn(text: string): Addresses | undefined {
  const http = /on (http:\/\/\S+)$/m.exec(text)?.[1];
  const grpc = /native gRPC on (\S+)$/m.exec(text)?.[1];
  return http === undefined || grpc === undefined ? undefined : { httpUrl: http, grpcTarget: grpc };
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
