import { z } from "zod";
import type { TlsPaths } from "./doors/tls-files.ts";

import { LONGEST_MS } from "./heartbeat/decide-pace.ts";
import type { BrakeSettings } from "./liveness/decide-brake.ts";
import { findThresholdClashes, type LivenessThresholds } from "./liveness/thresholds.ts";
import type { QuotaSettings } from "./quotas/quotas.ts";
import { parseDuration, printDuration } from "./runtime/duration.ts";
import { bad, good, listOf, type Parsed, parseNumber, type SettingRule } from "./setting-rule.ts";
import { type TelemetryConfig, telemetryRules, telemetryShape } from "./telemetry-settings.ts";
import { type AllowedHost, parseAllowedHost } from "./trackers/address-guard.ts";

/** The server's settings, parsed. */
export interface Config extends TelemetryConfig {
  httpAddress: ListenAddress;
  grpcAddress: ListenAddress;
  /** Undefined: the embedded PostgreSQL. */
  databaseUrl: string | undefined;
  /** Folder of the embedded database and of `operator.token`. */
  dataDir: string;
  corsOrigins: string[];
  /** Files of the server's TLS identity; undefined serves cleartext. */
  tlsCert: string | undefined;
  tlsKey: string | undefined;
  /** Roots of the certificates that clients must show. */
  tlsClientCa: string | undefined;
  heartbeatIntervalMs: number;
  /** What the whole fleet may send: the interval grows with it to stay under this. */
  maxHeartbeatsPerSecond: number;
  /** After how many intervals of silence an agent is stale. */
  staleAfter: number;
  /** After how many, and the grace on top, it is offline. */
  offlineAfter: number;
  offlineGraceMs: number;
  /** When a mass loss brakes: share of a project's agents, agents of the project, and agents a second then. */
  brakeFraction: number;
  brakeMinAgents: number;
  brakeRate: number;
  /** How long a task is lent without a renewal. */
  leaseMs: number;
  retryBackoffMs: number;
  retryBackoffMaxMs: number;
  agentTokenTtlMs: number;
  /** Connections to both ports. */
  maxConnections: number;
  maxConnectionsPerAddress: number;
  maxUnprovenConnections: number;
  /** Calls a second; 0 is no limit. */
  maxCallsPerToken: number;
  maxCallsPerAddress: number;
  maxCalls: number;
  /** The most that is stored; 0 is no limit. */
  quotaErrorsPerAgent: number;
  quotaErrors: number;
  quotaPendingTasks: number;
  quotaPayloadBytes: number;
  /** For how long these are kept. */
  retentionEventsMs: number;
  retentionAuditMs: number;
  retentionTasksMs: number;
  retentionErrorsMs: number;
  retentionRunsMs: number;
  /** Modules that add steps to heartbeat passes. */
  passSteps: string[];
  /** For how long one pass fetches issues. */
  passSyncTimeoutMs: number;
  /** For how long a tracker may take for one answer. */
  trackerTimeoutMs: number;
  /** Hosts of trackers whose addresses may be private, or origins such as http://127.0.0.1:4000. */
  trackerAllowedHosts: AllowedHost[];
  logLevel: LogLevel;
  logFormat: LogFormat;
}

export interface ListenAddress {
  host: string;
  /** 0 lets the operating system choose. */
  port: number;
}

const logLevels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
type LogLevel = (typeof logLevels)[number];
const logFormats = ["auto", "json", "text"] as const;
type LogFormat = (typeof logFormats)[number];
/** A setting that stops the start; the message names it and says what it must be. */
export class SettingError extends Error {
  constructor(problems: string[], cause?: unknown) {
    super(problems.join("\n"), { cause });
    this.name = "SettingError";
  }
}

/** One setting as users meet it. `flag` is that of `drover serve`. */
export interface Setting {
  env: string;
  flag: string;
  default: string;
  description: string;
}

const rules: SettingRule<keyof Config>[] = [
  {
    env: "DROVER_HTTP_ADDR",
    default: "127.0.0.1:8080",
    description: "where Connect, gRPC-Web, gRPC and REST are served",
    key: "httpAddress",
    parse: parseAddress,
  },
  {
    env: "DROVER_GRPC_ADDR",
    default: "127.0.0.1:9090",
    description: "where native gRPC is served",
    key: "grpcAddress",
    parse: parseAddress,
  },
  {
    env: "DATABASE_URL",
    default: "",
    description: "postgres://… of a PostgreSQL server; the embedded one when left out",
    key: "databaseUrl",
    parse: parseDatabaseUrl,
    secret: true,
  },
  {
    env: "DROVER_DATA_DIR",
    default: ".drover",
    description: "folder of the embedded database and of operator.token",
    key: "dataDir",
    parse: (text) => (text.includes("\0") ? bad("must be a path") : good(text)),
  },
  {
    env: "DROVER_CORS_ORIGINS",
    default: "",
    description: "origins that browsers may call from, separated by commas",
    key: "corsOrigins",
    parse: parseOrigins,
  },
  {
    env: "DROVER_TLS_CERT",
    default: "",
    description: "file of the certificate, PEM, with those that lead to its root; both ports then speak TLS",
    key: "tlsCert",
    parse: parsePath,
  },
  {
    env: "DROVER_TLS_KEY",
    default: "",
    description: "file of the certificate's private key, PEM",
    key: "tlsKey",
    parse: parsePath,
  },
  {
    env: "DROVER_TLS_CLIENT_CA",
    default: "",
    description: "file of the roots, PEM, from which every client must then show a certificate",
    key: "tlsClientCa",
    parse: parsePath,
  },
  {
    env: "DROVER_HEARTBEAT_INTERVAL",
    default: "15s",
    description: "time between an agent's heartbeats",
    key: "heartbeatIntervalMs",
    parse: (text) => parseDurationWithin(text, 100, 3_600_000, "between 100ms and 1h"),
  },
  {
    env: "DROVER_MAX_HEARTBEATS_PER_SECOND",
    default: "2000",
    description: "heartbeats that the whole fleet may send: the interval grows with it to stay under this",
    key: "maxHeartbeatsPerSecond",
    parse: (text) => parseNumber(text, isCount, "a whole number from 1 to 1000000"),
  },
  {
    env: "DROVER_STALE_AFTER",
    default: "2",
    description: "intervals of silence after which an agent is stale",
    key: "staleAfter",
    parse: parseIntervals,
  },
  {
    env: "DROVER_OFFLINE_AFTER",
    default: "3",
    description: "intervals of silence after which, with the grace on top, an agent is offline",
    key: "offlineAfter",
    parse: parseIntervals,
  },
  {
    env: "DROVER_OFFLINE_GRACE",
    default: "10s",
    description: "how much longer an agent may be silent before it is offline",
    key: "offlineGraceMs",
    parse: (text) => parseDurationWithin(text, 0, 86_400_000, "at most 1d"),
  },
  {
    env: "DROVER_BRAKE_FRACTION",
    default: "0.55",
    description: "share of a project's agents: when as many vanish at once, their tasks go back slowly",
    key: "brakeFraction",
    parse: (text) => parseNumber(text, (value) => value > 0 && value <= 1, "above 0 and at most 1"),
  },
  {
    env: "DROVER_BRAKE_MIN_AGENTS",
    default: "5",
    description: "in projects of fewer agents that makes no difference",
    key: "brakeMinAgents",
    parse: (text) => parseNumber(text, isCount, "a whole number from 1 to 1000000"),
  },
  {
    env: "DROVER_BRAKE_RATE",
    default: "0.1",
    description: "agents a second whose tasks go back then",
    key: "brakeRate",
    parse: (text) => parseNumber(text, (value) => value <= 1_000, "from 0 to 1000"),
  },
  {
    env: "DROVER_LEASE",
    default: "60s",
    description: "how long a task is lent without a renewal; at least three heartbeat intervals",
    key: "leaseMs",
    parse: (text) => parseDurationWithin(text, 300, 86_400_000, "between 300ms and 1d"),
  },
  {
    env: "DROVER_RETRY_BACKOFF",
    default: "1s",
    description: "how long a failed task waits for its first retry; it doubles with each one",
    key: "retryBackoffMs",
    parse: (text) => parseDurationWithin(text, 1, 86_400_000, "between 1ms and 1d"),
  },
  {
    env: "DROVER_RETRY_BACKOFF_MAX",
    default: "5m",
    description: "the longest wait for a retry",
    key: "retryBackoffMaxMs",
    parse: (text) => parseDurationWithin(text, 1, 30 * 86_400_000, "between 1ms and 30d"),
  },
  {
    env: "DROVER_AGENT_TOKEN_TTL",
    default: "30d",
    description: "how long an agent's token lives; it is renewed from a third of that on",
    key: "agentTokenTtlMs",
    parse: (text) => parseDurationWithin(text, 1_000, 3_650 * 86_400_000, "between 1s and 3650d"),
  },
  {
    env: "DROVER_MAX_CONNECTIONS",
    default: "50000",
    description: "most connections to both ports together",
    key: "maxConnections",
    parse: (text) => parseNumber(text, isCount, "a whole number from 1 to 1000000"),
  },
  {
    env: "DROVER_MAX_CONNECTIONS_PER_ADDRESS",
    default: "20000",
    description: "most connections from one address",
    key: "maxConnectionsPerAddress",
    parse: (text) => parseNumber(text, isCount, "a whole number from 1 to 1000000"),
  },
  {
    env: "DROVER_MAX_UNPROVEN_CONNECTIONS",
    default: "1000",
    description:
      "most connections from one address that have not brought a valid token yet; further ones wait",
    key: "maxUnprovenConnections",
    parse: (text) => parseNumber(text, isCount, "a whole number from 1 to 1000000"),
  },
  {
    env: "DROVER_MAX_CALLS_PER_TOKEN",
    default: "10000",
    description: "most calls a second with one token, twice as many in a burst; 0 is no limit",
    key: "maxCallsPerToken",
    parse: (text) =>
      parseNumber(text, (value) => value === 0 || isCount(value), "a whole number up to 1000000"),
  },
  {
    env: "DROVER_MAX_CALLS_PER_ADDRESS",
    default: "20000",
    description: "most calls a second from one address, twice as many in a burst; 0 is no limit",
    key: "maxCallsPerAddress",
    parse: (text) =>
      parseNumber(text, (value) => value === 0 || isCount(value), "a whole number up to 1000000"),
  },
  {
    env: "DROVER_MAX_CALLS",
    default: "0",
    description: "most calls a second in all, twice as many in a burst; 0 is no limit",
    key: "maxCalls",
    parse: (text) =>
      parseNumber(text, (value) => value === 0 || isCount(value), "a whole number up to 1000000"),
  },
  {
    env: "DROVER_QUOTA_ERRORS_PER_AGENT",
    default: "100000",
    description: "most errors stored of one agent; 0 is no limit",
    key: "quotaErrorsPerAgent",
    parse: parseQuota,
  },
  {
    env: "DROVER_QUOTA_ERRORS",
    default: "10000000",
    description: "most errors stored of a project; 0 is no limit",
    key: "quotaErrors",
    parse: parseQuota,
  },
  {
    env: "DROVER_QUOTA_PENDING_TASKS",
    default: "10000000",
    description: "most tasks of a project that wait; 0 is no limit",
    key: "quotaPendingTasks",
    parse: parseQuota,
  },
  {
    env: "DROVER_QUOTA_PAYLOAD_BYTES",
    default: "10737418240",
    description: "most bytes of payloads of a project's tasks that have not ended; 0 is no limit",
    key: "quotaPayloadBytes",
    parse: parseQuota,
  },
  {
    env: "DROVER_RETENTION_EVENTS",
    default: "7d",
    description: "how long events are kept, and how far back a watch can resume",
    key: "retentionEventsMs",
    parse: (text) => parseDurationWithin(text, 1_000, 36_500 * 86_400_000, "between 1s and 36500d"),
  },
  {
    env: "DROVER_RETENTION_AUDIT",
    default: "365d",
    description: "how long audit entries are kept",
    key: "retentionAuditMs",
    parse: (text) => parseDurationWithin(text, 1_000, 36_500 * 86_400_000, "between 1s and 36500d"),
  },
  {
    env: "DROVER_RETENTION_TASKS",
    default: "30d",
    description: "how long tasks are kept that have ended, with their attempts",
    key: "retentionTasksMs",
    parse: (text) => parseDurationWithin(text, 1_000, 36_500 * 86_400_000, "between 1s and 36500d"),
  },
  {
    env: "DROVER_RETENTION_ERRORS",
    default: "30d",
    description: "how long errors are kept after they were last seen",
    key: "retentionErrorsMs",
    parse: (text) => parseDurationWithin(text, 1_000, 36_500 * 86_400_000, "between 1s and 36500d"),
  },
  {
    env: "DROVER_RETENTION_RUNS",
    default: "90d",
    description: "how long the records of heartbeat passes are kept",
    key: "retentionRunsMs",
    parse: (text) => parseDurationWithin(text, 1_000, 36_500 * 86_400_000, "between 1s and 36500d"),
  },
  {
    env: "DROVER_PASS_STEPS",
    default: "",
    description: "modules that add steps to heartbeat passes, separated by commas",
    key: "passSteps",
    parse: (text) => (text.includes("\0") ? bad("must be paths of modules") : good(listOf(text))),
  },
  {
    env: "DROVER_PASS_SYNC_TIMEOUT",
    default: "50s",
    description: "how long one heartbeat pass fetches issues; the next one goes on from there",
    key: "passSyncTimeoutMs",
    parse: (text) => parseDurationWithin(text, 100, 3_600_000, "between 100ms and 1h"),
  },
  {
    env: "DROVER_TRACKER_TIMEOUT",
    default: "15s",
    description: "how long a tracker may take for one answer",
    key: "trackerTimeoutMs",
    parse: (text) => parseDurationWithin(text, 100, 600_000, "between 100ms and 10m"),
  },
  {
    env: "DROVER_TRACKER_ALLOWED_HOSTS",
    default: "",
    description: "hosts that trackers may lie on although their addresses are private, separated by commas",
    key: "trackerAllowedHosts",
    parse: parseAllowedHosts,
  },
  {
    env: "DROVER_LOG_LEVEL",
    default: "info",
    description: `one of ${logLevels.join(", ")}`,
    key: "logLevel",
    parse: parseLogLevel,
  },
  {
    env: "DROVER_LOG_FORMAT",
    default: "auto",
    description: "json, text for people, or auto: text in a terminal and json everywhere else",
    key: "logFormat",
    parse: parseLogFormat,
  },
  ...telemetryRules,
];

/** Every setting that is honoured, for help texts. */
export const settings: readonly Setting[] = rules.map(({ env, default: value, description }) => ({
  env,
  flag: flagOf(env),
  default: value,
  description,
}));

function flagOf(env: string): string {
  return env
    .replace(/^DROVER_/, "")
    .toLowerCase()
    .replaceAll("_", "-");
}

/**
 * Reads all settings, a flag before its environment variable. Throws a SettingError that lists every bad one.
 * `flags` are keyed by flag, such as `http-addr`.
 */
export function readConfig(
  environment: Readonly<Record<string, string | undefined>>,
  flags: Readonly<Record<string, string | undefined>>,
): Config {
  const { config, problems, clashes, tlsClashes } = examineConfig(environment, flags);
  if (problems.length > 0) throw new SettingError(problems);
  if (clashes.length + tlsClashes.length > 0) throw new SettingError([...clashes, ...tlsClashes]);
  return config;
}

/**
 * Reads all settings; the default stands in for each bad one. `problems` names those, and `clashes` says which of the
 * times in `config` cannot work together, `tlsClashes` which of the TLS settings.
 */
export function examineConfig(
  environment: Readonly<Record<string, string | undefined>>,
  flags: Readonly<Record<string, string | undefined>>,
): { config: Config; problems: string[]; clashes: string[]; tlsClashes: string[] } {
  const problems: string[] = [];
  const values: Record<string, unknown> = {};
  for (const rule of rules) {
    const text = flags[flagOf(rule.env)] ?? nonEmpty(environment[rule.env]) ?? rule.default;
    const parsed = rule.parse(text);
    if (!parsed.ok)
      problems.push(
        `${rule.env} (--${flagOf(rule.env)}) ${parsed.problem}${rule.secret ? "" : `, not "${text}"`}.`,
      );
    const used = parsed.ok ? parsed : rule.parse(rule.default);
    if (used.ok) values[rule.key] = used.value;
  }
  const config = configShape.parse(values);
  return { config, problems, clashes: findClashes(config), tlsClashes: findTlsClashes(config) };
}

/** Times that are good by themselves and cannot work together: the inequality that fails. */
function findClashes(config: Config): string[] {
  const { leaseMs, heartbeatIntervalMs, retryBackoffMs, retryBackoffMaxMs } = config;
  const thresholds = thresholdsOf(config);
  const clashes = findThresholdClashes(thresholds);
  // A large fleet is told a longer one, and the thresholds follow it.
  const longest = { ...thresholds, intervalMs: Math.max(heartbeatIntervalMs, LONGEST_MS) };
  if (clashes.length === 0)
    clashes.push(...findThresholdClashes(longest, "the longest interval that a large fleet is told"));
  // One lost heartbeat, and one that is late, must not cost a lease.
  if (leaseMs < 3 * heartbeatIntervalMs) {
    const [lease, interval] = [printDuration(leaseMs), printDuration(heartbeatIntervalMs)];
    clashes.push(
      `DROVER_LEASE must be at least 3 x DROVER_HEARTBEAT_INTERVAL, and ${lease} < 3 x ${interval}.`,
    );
  }
  if (retryBackoffMaxMs < retryBackoffMs) {
    const [first, longest] = [printDuration(retryBackoffMs), printDuration(retryBackoffMaxMs)];
    clashes.push(
      `DROVER_RETRY_BACKOFF_MAX must be at least DROVER_RETRY_BACKOFF, and ${longest} < ${first}.`,
    );
  }
  return clashes;
}

function findTlsClashes({ tlsCert, tlsKey, tlsClientCa }: Config): string[] {
  if (tlsCert !== undefined && tlsKey === undefined)
    return ["DROVER_TLS_CERT needs DROVER_TLS_KEY beside it: a certificate serves nobody without its key."];
  if (tlsKey !== undefined && tlsCert === undefined)
    return ["DROVER_TLS_KEY needs DROVER_TLS_CERT beside it: a key is no certificate."];
  if (tlsClientCa !== undefined && tlsCert === undefined)
    return [
      "DROVER_TLS_CLIENT_CA needs DROVER_TLS_CERT and DROVER_TLS_KEY: clients show certificates over TLS alone.",
    ];
  return [];
}

/** Where the files of the TLS identity are; undefined for cleartext. */
export function tlsPathsOf({
  tlsCert: cert,
  tlsKey: key,
  tlsClientCa: clientCa,
}: Config): TlsPaths | undefined {
  return cert === undefined || key === undefined ? undefined : { cert, key, clientCa };
}

/** When agents that are silent are called stale and offline. */
export function thresholdsOf(config: Config): LivenessThresholds {
  const { heartbeatIntervalMs: intervalMs, staleAfter, offlineAfter, offlineGraceMs } = config;
  return { intervalMs, staleAfter, offlineAfter, offlineGraceMs };
}

/** What projects and agents may store. */
export function quotaSettingsOf(config: Config): QuotaSettings {
  const { quotaErrorsPerAgent: errorsPerAgent, quotaErrors: errors } = config;
  const { quotaPendingTasks: pendingTasks, quotaPayloadBytes: payloadBytes } = config;
  return { errorsPerAgent, errors, pendingTasks, payloadBytes };
}

/** When a mass loss brakes. */
export function brakeSettingsOf(config: Config): BrakeSettings {
  const { brakeFraction: fraction, brakeMinAgents: minAgents, brakeRate: agentsPerSecond } = config;
  return { fraction, minAgents, agentsPerSecond };
}

const address = z.object({ host: z.string(), port: z.number() });
const configShape: z.ZodType<Config> = z.object({
  httpAddress: address,
  grpcAddress: address,
  databaseUrl: z.union([z.string(), z.undefined()]),
  dataDir: z.string(),
  corsOrigins: z.array(z.string()),
  tlsCert: z.union([z.string(), z.undefined()]),
  tlsKey: z.union([z.string(), z.undefined()]),
  tlsClientCa: z.union([z.string(), z.undefined()]),
  heartbeatIntervalMs: z.number(),
  maxHeartbeatsPerSecond: z.number(),
  staleAfter: z.number(),
  offlineAfter: z.number(),
  offlineGraceMs: z.number(),
  brakeFraction: z.number(),
  brakeMinAgents: z.number(),
  brakeRate: z.number(),
  leaseMs: z.number(),
  retryBackoffMs: z.number(),
  retryBackoffMaxMs: z.number(),
  agentTokenTtlMs: z.number(),
  maxConnections: z.number(),
  maxConnectionsPerAddress: z.number(),
  maxUnprovenConnections: z.number(),
  maxCallsPerToken: z.number(),
  maxCallsPerAddress: z.number(),
  maxCalls: z.number(),
  quotaErrorsPerAgent: z.number(),
  quotaErrors: z.number(),
  quotaPendingTasks: z.number(),
  quotaPayloadBytes: z.number(),
  retentionEventsMs: z.number(),
  retentionAuditMs: z.number(),
  retentionTasksMs: z.number(),
  retentionErrorsMs: z.number(),
  retentionRunsMs: z.number(),
  passSteps: z.array(z.string()),
  passSyncTimeoutMs: z.number(),
  trackerTimeoutMs: z.number(),
  trackerAllowedHosts: z.array(
    z.object({
      host: z.string(),
      port: z.union([z.string(), z.undefined()]),
      insecure: z.boolean(),
    }),
  ),
  logLevel: z.enum(logLevels),
  logFormat: z.enum(logFormats),
  ...telemetryShape,
});

function nonEmpty(text: string | undefined): string | undefined {
  return text === undefined || text.trim() === "" ? undefined : text.trim();
}

function parseAddress(text: string): Parsed {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]\s]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) return bad("must be HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080");
  return good({ host: match[1] ?? (match[2] || "0.0.0.0"), port });
}

function parsePath(text: string): Parsed {
  if (text === "") return good(undefined);
  return text.includes("\0") ? bad("must be a path") : good(text);
}

function parseDatabaseUrl(text: string): Parsed {
  if (text === "") return good(undefined);
  if (!/^postgres(?:ql)?:\/\//.test(text)) return bad("must begin with postgres://");
  return good(text);
}

function parseOrigins(text: string): Parsed {
  const origins = listOf(text);
  for (const origin of origins) {
    if (!isOrigin(origin)) return bad("must be origins such as https://app.example.com, separated by commas");
  }
  return good(origins);
}

function parseAllowedHosts(text: string): Parsed {
  const hosts = listOf(text).map(parseAllowedHost);
  return hosts.includes(undefined)
    ? bad(
        "must be hosts such as ghe.example.com or ghe.example.com:8443, or origins such as http://10.0.0.5:4000",
      )
    : good(hosts);
}

function isOrigin(text: string): boolean {
  try {
    return new URL(text).origin === text;
  } catch {
    return false;
  }
}

function parseDurationWithin(text: string, minimumMs: number, maximumMs: number, words: string): Parsed {
  const parsed = parseDuration(text);
  if (parsed.kind === "bad") return bad("must be a duration such as 250ms, 15s, 1h30m or 30d");
  if (parsed.ms < minimumMs || parsed.ms > maximumMs) return bad(`must be ${words}`);
  return good(parsed.ms);
}

function parseIntervals(text: string): Parsed {
  const count = /^\d{1,4}(?:\.\d{1,3})?$/.test(text) ? Number(text) : 0;
  return count > 0 && count <= 1_000
    ? good(count)
    : bad("must be a number of intervals such as 2 or 2.5, at most 1000");
}

function parseQuota(text: string): Parsed {
  return /^\d{1,15}$/.test(text) ? good(Number(text)) : bad("must be a whole number of at most 15 digits");
}

function isCount(value: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= 1_000_000;
}

function parseLogLevel(text: string): Parsed {
  return logLevels.some((level) => level === text)
    ? good(text)
    : bad(`must be one of ${logLevels.join(", ")}`);
}

function parseLogFormat(text: string): Parsed {
  return logFormats.some((format) => format === text)
    ? good(text)
    : bad(`must be one of ${logFormats.join(", ")}`);
}
