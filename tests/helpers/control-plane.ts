import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readConfig } from "../../src/config.ts";
import { createControlPlane } from "../../src/control-plane.ts";
import { scrubJson } from "../../src/error-reports/scrub-secrets.ts";
import { callFields } from "../../src/observability/call-scope.ts";
import { createLogger } from "../../src/observability/logger.ts";
import { openTracing, type Tracing, traceFields } from "../../src/observability/tracing.ts";
import { ensureProject } from "../../src/projects/project-store.ts";
import { newUuid } from "../../src/runtime/resource-id.ts";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { tracingSettingsOf } from "../../src/telemetry-settings.ts";
import { ensureOperatorToken, OPERATOR_TOKEN_FILE } from "../../src/tokens/operator-token.ts";
import { type ServeProcess, spawnServe } from "./serve-process.ts";
import { createTestDatabase } from "./test-database.ts";

/** A real control plane on a database of its own, serving on free ports. */
export interface TestControlPlane {
  /** `http://host:port` of the web door, or `https` over TLS. */
  readonly httpUrl: string;
  /** `host:port` of the native door. */
  readonly grpcAddress: string;
  /** The server's own operator token. */
  readonly operatorToken: string;
  /** What another server needs to serve the same fleet. */
  readonly home: ControlPlaneHome;
  /** Runs a statement on its database, past the server; see `Database.sql` for the types of what comes back. */
  readonly database: Database["sql"];
  /** All that it has printed and logged so far. */
  output(): string;
  /** Stops it, then removes what was made for it. */
  stop(): Promise<void>;
}

export interface ControlPlaneOptions {
  /** Settings by their environment variable, such as DROVER_HEARTBEAT_INTERVAL. */
  settings?: Readonly<Record<string, string>>;
}

function settingsFor(
  databaseUrl: string,
  dataDir: string,
  options: ControlPlaneOptions,
): Record<string, string> {
  return {
    DATABASE_URL: databaseUrl,
    DROVER_DATA_DIR: dataDir,
    DROVER_HTTP_ADDR: "127.0.0.1:0",
    DROVER_GRPC_ADDR: "127.0.0.1:0",
    ...options.settings,
  };
}

/** Starts a control plane in this process. `on` serves another's state, which then stays at `stop`. */
export async function startControlPlane(
  options: ControlPlaneOptions & { on?: ControlPlaneHome } = {},
): Promise<TestControlPlane> {
  const own = options.on === undefined ? await makeHome() : undefined;
  const home = options.on ?? own?.home;
  if (home === undefined) throw new Error("there is a home either way");
  const { databaseUrl: url, dataDir } = home;
  const config = readConfig(settingsFor(url, dataDir, options), {});
  const lines: string[] = [];
  let tracing: Tracing | undefined;
  const logger = createLogger({
    level: config.logLevel,
    scrub: scrubJson,
    destination: { write: (line) => void lines.push(line) },
    fields: () => ({ ...callFields(), ...traceFields(tracing) }),
  });
  tracing = await openTracing(tracingSettingsOf(config), (error) =>
    logger.warn({ err: error }, "spans could not be sent to the collector"),
  );
  const database = openDatabase({ url, applicationName: "drover", trace: tracing });
  const project = await ensureProject(database.db, newUuid(), "default");
  await ensureOperatorToken(database.db, project.id, dataDir);
  const controlPlane = createControlPlane(database, config, logger, undefined, tracing);
  await controlPlane.start();
  const { http, grpc } = controlPlane.addresses;
  return {
    httpUrl: `${config.tlsCert === undefined ? "http" : "https"}://${http.host}:${http.port}`,
    grpcAddress: `${grpc.host}:${grpc.port}`,
    operatorToken: await readOperatorToken(dataDir),
    home,
    database: database.sql,
    output: () => lines.join(""),
    stop: async () => {
      await controlPlane.stop();
      await database.close();
      await own?.remove();
    },
  };
}

/** A control plane in a process of its own, which can be killed. */
export interface ControlPlaneProcess
  extends TestControlPlane,
    Pick<ServeProcess, "pid" | "kill" | "exited"> {}

/** Where a control plane's state lies. */
export interface ControlPlaneHome {
  readonly databaseUrl: string;
  readonly dataDir: string;
}

/**
 * Starts `drover serve` and resolves when it has printed where it listens; rejects with its output if it ends before.
 * `on` serves another's state, which then stays at `stop`.
 */
export async function spawnControlPlane(
  options: ControlPlaneOptions & { on?: ControlPlaneHome } = {},
): Promise<ControlPlaneProcess> {
  const own = options.on === undefined ? await makeHome() : undefined;
  const home = options.on ?? own?.home;
  if (home === undefined) throw new Error("there is a home either way");
  const database = openDatabase({ url: home.databaseUrl, applicationName: "drover-test", maxConnections: 2 });
  const server = spawnServe(settingsFor(home.databaseUrl, home.dataDir, options));
  const { httpUrl, grpcAddress } = await server.listening;
  return {
    httpUrl,
    grpcAddress,
    operatorToken: await readOperatorToken(home.dataDir),
    database: database.sql,
    home,
    output: server.output,
    pid: server.pid,
    kill: server.kill,
    exited: server.exited,
    stop: async () => {
      server.kill("SIGTERM");
      await server.exited;
      await database.close();
      await own?.remove();
    },
  };
}

async function makeHome(): Promise<{ home: ControlPlaneHome; remove(): Promise<void> }> {
  const { url, drop } = await createTestDatabase();
  const dataDir = await mkdtemp(join(tmpdir(), "drover-test-"));
  return {
    home: { databaseUrl: url, dataDir },
    remove: async () => {
      await drop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

async function readOperatorToken(dataDir: string): Promise<string> {
  return (await readFile(join(dataDir, OPERATOR_TOKEN_FILE), "utf8")).trim();
}
