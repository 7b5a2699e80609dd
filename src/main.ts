/** Process entry: what `drover serve`, `drover db migrate`, `drover tokens recover` and `drover doctor` do. */
import { resolve } from "node:path";
import { type Config, readConfig, settings } from "./config.ts";
import { createControlPlane } from "./control-plane.ts";
import { type Examination, examine as look } from "./doctor/examine.ts";
import { scrubJson } from "./error-reports/scrub-secrets.ts";
import { callFields } from "./observability/call-scope.ts";
import { type LogPush, openLogPush } from "./observability/log-push.ts";
import { createLogger, type Logger, readable } from "./observability/logger.ts";
import { openTracing, type Tracing, traceFields } from "./observability/tracing.ts";
import { ensureProject } from "./projects/project-store.ts";
import { newUuid } from "./runtime/resource-id.ts";
import { type ServerAddresses, ServerFile } from "./server-file.ts";
import { type Database, openDatabase } from "./storage/database.ts";
import { migrateDatabase } from "./storage/migrate.ts";
import { createPostgres } from "./storage/postgres.ts";
import { logCollectorOf, tracingSettingsOf } from "./telemetry-settings.ts";
import { ensureOperatorToken, recoverOperatorToken as recover } from "./tokens/operator-token.ts";
import { openTls } from "./wiring/open-tls.ts";

export { settings };

/** Values of `drover serve` flags, keyed by flag such as `http-addr`. */
export type FlagValues = Readonly<Record<string, string | undefined>>;

const DEFAULT_PROJECT = "default";

/**
 * Runs the control plane until SIGINT or SIGTERM; resolves when all of it has stopped. `printJson` gets what it listens on,
 * instead of words on standard output.
 */
export async function serve(flags: FlagValues, printJson?: (json: string) => void): Promise<void> {
  const config = readConfig(process.env, flags);
  const telemetry: Telemetry = { tracing: undefined, log: undefined };
  const logger = await openLog(config, telemetry);
  // Before the database: a bad file should be told at once.
  const tls = openTls(config, logger);
  const stopRequested = stopSignal();
  await openTelemetry(telemetry, config, logger);
  const { tracing } = telemetry;
  const run = async (database: Database) => {
    const project = await ensureProject(database.db, newUuid(), DEFAULT_PROJECT);
    const tokenFile = await ensureOperatorToken(database.db, project.id, resolve(config.dataDir));
    const controlPlane = createControlPlane(database, config, logger, tls, tracing);
    const serverFile = new ServerFile(resolve(config.dataDir), logger);
    try {
      await controlPlane.start();
      await serverFile.write(reachable(controlPlane.addresses, config));
      const news = newsOf(controlPlane.addresses, config, controlPlane.signInCode(project.id), tokenFile);
      if (printJson === undefined) announce(news);
      else printJson(JSON.stringify(news));
      await stopRequested;
      if (printJson === undefined) console.log("Stopping.");
      giveUpStopping(logger);
    } finally {
      await serverFile.remove();
      await controlPlane.stop();
    }
  };
  try {
    await withDatabase(config, logger, run, { tracing });
  } finally {
    await telemetry.log?.stop();
  }
}

/** What is sent to a collector, once it is open. */
interface Telemetry {
  tracing: Tracing | undefined;
  log: LogPush | undefined;
}

async function openTelemetry(telemetry: Telemetry, config: Config, logger: Logger): Promise<void> {
  const unsent = (what: string) => (error: unknown) =>
    logger.warn({ err: error }, `${what} could not be sent to the collector`);
  telemetry.log = await openLogPush(logCollectorOf(config), unsent("lines of the log"));
  telemetry.tracing = await openTracing(tracingSettingsOf(config), unsent("spans"));
}

/** Brings the database's schema up to date. */
export async function migrate(flags: FlagValues): Promise<void> {
  const config = readConfig(process.env, flags);
  await withDatabase(config, await openLog(config), async () => {}, { besideServer: true });
}

/** Mints a new operator token for the server on this machine and writes it to the data folder. */
export async function recoverOperatorToken(flags: FlagValues): Promise<{ path: string }> {
  const config = readConfig(process.env, flags);
  const run = async (database: Database) => {
    const project = await ensureProject(database.db, newUuid(), DEFAULT_PROJECT);
    return { path: await recover(database.db, project.id, resolve(config.dataDir)) };
  };
  return await withDatabase(config, await openLog(config), run, { besideServer: true });
}

/** Looks at what can keep a server from working on this machine; changes nothing. */
export async function examine(flags: FlagValues): Promise<Examination> {
  // What is worth saying is in the findings.
  return await look(process.env, flags, createLogger({ level: "silent", scrub: scrubJson }));
}

/** JSON for programs; words where somebody reads along. The collector gets a copy, where there is one. */
async function openLog({ logLevel, logFormat }: Config, telemetry?: Telemetry): Promise<Logger> {
  const { stderr } = process;
  const inWords = logFormat === "text" || (logFormat === "auto" && stderr.isTTY === true);
  const colours = stderr.isTTY === true && (process.env.NO_COLOR ?? "") === "";
  const destination = inWords ? await readable(stderr, { colours }) : undefined;
  return createLogger({
    level: logLevel,
    scrub: scrubJson,
    destination,
    fields: () => ({ ...callFields(), ...traceFields(telemetry?.tracing) }),
    copy: (line) => telemetry?.log?.write(line),
  });
}

/** Starts PostgreSQL where it is embedded and does not run already, migrates, runs, and stops what it started. */
async function withDatabase<T>(
  config: Config,
  logger: Logger,
  run: (database: Database) => Promise<T>,
  { besideServer = false, tracing }: { besideServer?: boolean; tracing?: Tracing | undefined } = {},
): Promise<T> {
  const postgres = createPostgres({
    databaseUrl: config.databaseUrl,
    dataDir: resolve(config.dataDir),
    logger,
    besideServer,
  });
  await postgres.start();
  try {
    await migrateDatabase(postgres.connection);
    const database = openDatabase({
      ...postgres.connection,
      applicationName: `drover ${process.pid}`,
      trace: tracing,
    });
    try {
      return await run(database);
    } finally {
      await database.close();
    }
  } finally {
    await postgres.stop();
  }
}

/** Resolves at the first signal to stop; a second one ends the process at once. */
function stopSignal(): Promise<void> {
  return new Promise((stop) => {
    let asked = false;
    const ask = () => {
      if (asked) process.exit(1);
      asked = true;
      stop();
    };
    process.on("SIGINT", ask);
    process.on("SIGTERM", ask);
  });
}

/** Within the half minute that supervisors give before they kill. */
const STOP_DEADLINE_MS = 28_000;

/** Every step of a stop has an end of its own; should one have none after all, the process ends all the same. */
function giveUpStopping(logger: Logger): void {
  setTimeout(() => {
    logger.error("the server did not come to its end in time, and was ended");
    process.exit(1);
  }, STOP_DEADLINE_MS).unref();
}

interface Address {
  host: string;
  port: number;
}

/** What a start has to tell. */
interface News {
  readonly http: string;
  /** `host:port`. */
  readonly grpc: string;
  /** The folder of the embedded one; undefined where DATABASE_URL names another. */
  readonly embeddedDatabase: string | undefined;
  /** Where the operator's token was written; undefined where there was one. */
  readonly operatorTokenFile: string | undefined;
  readonly dashboard: string;
}

function newsOf(
  addresses: { http: Address; grpc: Address },
  config: Config,
  signInCode: string,
  operatorTokenFile: string | undefined,
): News {
  const { http, grpc } = addresses;
  return {
    http: `${schemeOf(config)}://${printAddress(http)}`,
    grpc: printAddress(grpc),
    embeddedDatabase: config.databaseUrl === undefined ? resolve(config.dataDir) : undefined,
    operatorTokenFile,
    // The code stands in the fragment, which browsers keep to themselves: no request and no log carries it.
    dashboard: `${reachable(addresses, config).http}/#/sign-in/${signInCode}`,
  };
}

function announce({ http, grpc, embeddedDatabase, operatorTokenFile, dashboard }: News): void {
  console.log(`Drover serves Connect, gRPC-Web, gRPC and REST on ${http}`);
  console.log(`Drover serves native gRPC on ${grpc}`);
  console.log(
    `Database: ${embeddedDatabase === undefined ? "DATABASE_URL" : `embedded, in ${embeddedDatabase}`}`,
  );
  if (operatorTokenFile !== undefined) console.log(`Operator token: written to ${operatorTokenFile}`);
  console.log(`Dashboard: ${dashboard} (signs in once, within 15 minutes)`);
}

function schemeOf({ tlsCert }: Config): "http" | "https" {
  return tlsCert === undefined ? "http" : "https";
}

/** The addresses by which this machine reaches them: one that stands for all of its own cannot be connected to. */
function reachable(addresses: { http: Address; grpc: Address }, config: Config): ServerAddresses {
  const baseOf = ({ host, port }: Address): string => {
    const reached = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
    return `${schemeOf(config)}://${printAddress({ host: reached, port })}`;
  };
  return { http: baseOf(addresses.http), grpc: baseOf(addresses.grpc) };
}

function printAddress({ host, port }: Address): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
