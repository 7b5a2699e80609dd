import { describe, expect, test } from "vitest";
import { readConfig, SettingError, settings } from "../src/config.ts";
import { refusedStart } from "./helpers/server-process.ts";

const collectorAddress = {
  good: ["http://127.0.0.1:4318", "https://otel.example.com/collector/"],
  bad: ["127.0.0.1:4318", "grpc://127.0.0.1:4317", "http://"],
};
const collectorProtocol = { good: ["http/protobuf", "http/json", "HTTP/JSON"], bad: ["grpc", "json"] };
const collectorHeaders = {
  good: ["api-key=abc", "x-tenant=7 , authorization=Bearer%20abc", "empty=", "a=b;property=1", "key=a=b"],
  bad: ["api-key", "=abc", "a b=c", "x=%zz", "x=%0d%0aevil", "x=%E2%82%AC", "x=1,y"],
};
const quota = {
  good: ["0", "1000000", "999999999999999"],
  bad: ["-1", "1.5", "10GiB", "1e6", "9999999999999999"],
};

/** Values that each setting takes, and values that it must refuse. */
const cases: Record<string, { good: string[]; bad: string[] }> = {
  DROVER_HTTP_ADDR: {
    good: ["127.0.0.1:0", "0.0.0.0:65535", "[::1]:8080", "[::]:0", "localhost:80", ":8080"],
    bad: [
      "8080",
      "127.0.0.1",
      "127.0.0.1:",
      "127.0.0.1:65536",
      "::1:8080",
      "http://127.0.0.1:80",
      "a b:80",
      "x:-1",
      "x:1e3",
    ],
  },
  DROVER_GRPC_ADDR: {
    good: ["127.0.0.1:0", "[::1]:9090"],
    bad: ["9090", "127.0.0.1:99999", "[::1]", "[::1]9090"],
  },
  DATABASE_URL: {
    good: [
      "postgres://u:p@db.example:5432/fleet",
      "postgresql://u@localhost/fleet",
      "postgres:///fleet?host=/run/pg",
    ],
    bad: ["mysql://u:p@h/d", "db.example:5432", "http://db.example"],
  },
  DROVER_DATA_DIR: { good: ["/var/lib/fleet", "here", "with space"], bad: ["with\0nul"] },
  DROVER_CORS_ORIGINS: {
    good: ["https://app.example.com", "http://localhost:5173,https://b.example", " https://a.example , "],
    bad: [
      "*",
      "app.example.com",
      "https://app.example.com/",
      "https://app.example.com/path",
      "https://a.example,oops",
    ],
  },
  DROVER_HEARTBEAT_INTERVAL: {
    good: ["100ms", "0.5s", "15s", "1h", "1m30s", "1000ms"],
    bad: ["15", "0s", "99ms", "1h1ms", "-5s", "15 s", "soon", "1.5m"],
  },
  DROVER_MAX_HEARTBEATS_PER_SECOND: {
    good: ["1", "2000", "1000000"],
    bad: ["0", "-1", "1000001", "1.5", "many", "2e3"],
  },
  DROVER_STALE_AFTER: { good: ["1.5", "2", "3"], bad: ["0", "-1", "1e3", "1001", "two", "2s"] },
  DROVER_OFFLINE_AFTER: { good: ["3", "4.5", "1000"], bad: ["0", "none", "1001", "3x", "-3"] },
  DROVER_OFFLINE_GRACE: { good: ["0s", "10s", "1d"], bad: ["-1s", "10", "25h", "later"] },
  DROVER_BRAKE_FRACTION: { good: ["0.55", "1", "0.01"], bad: ["0", "1.01", "55%", "-0.5", "half", "1e-1"] },
  DROVER_BRAKE_MIN_AGENTS: { good: ["1", "5", "1000000"], bad: ["0", "2.5", "-5", "1000001", "all"] },
  DROVER_BRAKE_RATE: { good: ["0", "0.1", "1000"], bad: ["-1", "1001", "1e2", "slow", ".5"] },
  DROVER_LEASE: { good: ["45s", "60s", "1d"], bad: ["299ms", "60", "25h", "forever"] },
  DROVER_RETRY_BACKOFF: { good: ["1ms", "1s", "1d"], bad: ["0s", "1", "25h", "-1s"] },
  DROVER_RETRY_BACKOFF_MAX: { good: ["1s", "5m", "30d"], bad: ["0s", "31d", "5"] },
  DROVER_AGENT_TOKEN_TTL: { good: ["1s", "30d", "3650d"], bad: ["30", "0d", "500ms", "3651d", "P30D"] },
  DROVER_RETENTION_EVENTS: { good: ["1s", "7d", "36500d"], bad: ["0s", "999ms", "36500d1s", "90"] },
  DROVER_RETENTION_AUDIT: { good: ["1s", "365d"], bad: ["0s", "999ms", "never"] },
  DROVER_RETENTION_TASKS: { good: ["1s", "30d", "36500d"], bad: ["0s", "999ms", "36500d1s", "30"] },
  DROVER_RETENTION_ERRORS: { good: ["1s", "30d", "36500d"], bad: ["0s", "999ms", "36500d1s", "30"] },
  DROVER_RETENTION_RUNS: { good: ["1s", "90d", "36500d"], bad: ["0s", "999ms", "36500d1s", "90"] },
  DROVER_PASS_STEPS: { good: ["steps.ts", "/opt/a.ts, ./b.js"], bad: ["a\0b"] },
  DROVER_PASS_SYNC_TIMEOUT: { good: ["100ms", "50s", "1h"], bad: ["99ms", "1h1ms", "50"] },
  DROVER_TRACKER_TIMEOUT: { good: ["100ms", "15s", "10m"], bad: ["99ms", "10m1ms", "soon"] },
  DROVER_TRACKER_ALLOWED_HOSTS: {
    good: ["ghe.example.com", "ghe.example.com:8443, 10.0.0.5", "http://127.0.0.1:4000", "[fd00::1]:8443"],
    bad: ["ghe.example.com/api", "http://127.0.0.1:4000/", "user@ghe.example.com", "*.example.com/", "a b"],
  },
  DROVER_MAX_CONNECTIONS: { good: ["1", "50000", "1000000"], bad: ["0", "-1", "1.5", "1000001", "many"] },
  DROVER_MAX_CONNECTIONS_PER_ADDRESS: { good: ["1", "20000"], bad: ["0", "2.5", "1000001"] },
  DROVER_MAX_UNPROVEN_CONNECTIONS: { good: ["1", "1000"], bad: ["0", "x", "1000001"] },
  DROVER_MAX_CALLS_PER_TOKEN: { good: ["0", "10000"], bad: ["-1", "0.5", "1000001"] },
  DROVER_MAX_CALLS_PER_ADDRESS: { good: ["0", "20000"], bad: ["-1", "10/s"] },
  DROVER_MAX_CALLS: { good: ["0", "1000000"], bad: ["-1", "1e3"] },
  DROVER_TLS_CERT: { good: ["/etc/tls/cert.pem", "cert.pem"], bad: ["a\0b"] },
  DROVER_TLS_KEY: { good: ["/etc/tls/key.pem"], bad: ["a\0b"] },
  DROVER_TLS_CLIENT_CA: { good: ["/etc/tls/ca.pem"], bad: ["a\0b"] },
  DROVER_QUOTA_ERRORS: quota,
  DROVER_QUOTA_ERRORS_PER_AGENT: quota,
  DROVER_QUOTA_PAYLOAD_BYTES: quota,
  DROVER_QUOTA_PENDING_TASKS: quota,
  DROVER_LOG_FORMAT: { good: ["auto", "json", "text"], bad: ["pretty", "JSON", "1"] },
  OTEL_SDK_DISABLED: { good: ["true", "TRUE", "false"], bad: ["1", "yes", "disabled"] },
  OTEL_EXPORTER_OTLP_ENDPOINT: collectorAddress,
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: collectorAddress,
  OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: collectorAddress,
  OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: collectorAddress,
  OTEL_EXPORTER_OTLP_PROTOCOL: collectorProtocol,
  OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: collectorProtocol,
  OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: collectorProtocol,
  OTEL_EXPORTER_OTLP_LOGS_PROTOCOL: collectorProtocol,
  OTEL_EXPORTER_OTLP_HEADERS: collectorHeaders,
  OTEL_EXPORTER_OTLP_TRACES_HEADERS: collectorHeaders,
  OTEL_EXPORTER_OTLP_METRICS_HEADERS: collectorHeaders,
  OTEL_EXPORTER_OTLP_LOGS_HEADERS: collectorHeaders,
  OTEL_TRACES_EXPORTER: { good: ["otlp", "none", "None"], bad: ["console", "otlp,console"] },
  OTEL_METRICS_EXPORTER: { good: ["otlp", "none"], bad: ["prometheus"] },
  OTEL_LOGS_EXPORTER: { good: ["OTLP", "none"], bad: ["stdout"] },
  OTEL_METRIC_EXPORT_INTERVAL: { good: ["100", "60000"], bad: ["0", "60s", "3600001"] },
  OTEL_TRACES_SAMPLER: {
    good: ["always_on", "always_off", "traceidratio", "parentbased_traceidratio", "PARENTBASED_ALWAYS_OFF"],
    bad: ["always", "jaeger_remote", "parentbased"],
  },
  OTEL_TRACES_SAMPLER_ARG: { good: ["0", "0.05", "1", ".5", "1e-3"], bad: ["-1", "1.1", "5%", "0x1", "NaN"] },
  DROVER_LOG_LEVEL: { good: ["trace", "info", "silent"], bad: ["verbose", "INFO", "3"] },
};

/** Leaves room for any value of the others: lease, thresholds and waits must fit each other. */
const roomy = {
  DROVER_LEASE: "1d",
  DROVER_OFFLINE_GRACE: "1d",
  DROVER_RETRY_BACKOFF_MAX: "30d",
  DROVER_TLS_CERT: "cert.pem",
  DROVER_TLS_KEY: "key.pem",
};

const flagOf = (env: string) =>
  env
    .replace(/^DROVER_/, "")
    .toLowerCase()
    .replaceAll("_", "-");

function problemsOf(env: Record<string, string>, flags: Record<string, string> = {}): string {
  try {
    readConfig(env, flags);
    return "";
  } catch (error) {
    if (error instanceof SettingError) return error.message;
    throw error;
  }
}

test("every setting that is honoured has its cases here", () => {
  expect(settings.filter(({ env }) => !(env in cases)).map(({ env }) => env)).toEqual([]);
});

describe.each(Object.entries(cases))("%s", (env, { good, bad }) => {
  test.each(good)("takes %j, from the environment and as a flag", (value) => {
    expect(problemsOf({ ...roomy, [env]: value })).toBe("");
    expect(problemsOf(roomy, { [flagOf(env)]: value })).toBe("");
  });

  test.each(bad)("refuses %j with a sentence that names it", (value) => {
    for (const problems of [problemsOf({ [env]: value }), problemsOf({}, { [flagOf(env)]: value })]) {
      expect(problems).toMatch(new RegExp(`^${env} \\(--${flagOf(env)}\\) must .*\\.$`, "s"));
    }
  });
});

test("a flag counts before the environment, an empty variable as none, and every problem is told", () => {
  const config = readConfig(
    { DROVER_HEARTBEAT_INTERVAL: "18s", DROVER_LOG_LEVEL: "" },
    { "heartbeat-interval": "20s" },
  );
  expect(config).toMatchObject({ heartbeatIntervalMs: 20_000, logLevel: "info" });
  const problems = problemsOf({
    DROVER_HTTP_ADDR: "x",
    DROVER_LOG_LEVEL: "y",
    DROVER_RETENTION_AUDIT: "x",
  }).split("\n");
  expect(problems.length).toBe(3);
});

test("no message repeats a database's password or a collector's key", () => {
  expect(problemsOf({ OTEL_EXPORTER_OTLP_TRACES_HEADERS: "hunter2" })).not.toContain("hunter2");
  expect(problemsOf({ DATABASE_URL: "mysql://user:hunter2@db.example/fleet" })).not.toContain("hunter2");
});

describe("a server with a bad setting does not start", () => {
  test.each([
    ["a bad value", { DROVER_HEARTBEAT_INTERVAL: "often" }, "DROVER_HEARTBEAT_INTERVAL"],
    ["a certificate without its key", { DROVER_TLS_CERT: "/etc/tls/cert.pem" }, "DROVER_TLS_KEY"],
    [
      "a certificate that is not there",
      { DROVER_TLS_CERT: "/nowhere/cert.pem", DROVER_TLS_KEY: "/nowhere/key.pem" },
      "DROVER_TLS_CERT names /nowhere/cert.pem, which does not exist.",
    ],
    ["an address of another machine", { DROVER_HTTP_ADDR: "192.0.2.1:80" }, "DROVER_HTTP_ADDR"],
    ["a database that is none", { DATABASE_URL: "mysql://user:hunter2@db.example/fleet" }, "DATABASE_URL"],
  ] as [string, Record<string, string>, string][])("%s", async (_, env, named) => {
    const { outcome, output } = await refusedStart({ env });
    expect(outcome).not.toBe(0);
    expect(output).toContain(named);
    expect(output).not.toContain("hunter2");
    expect(output).not.toMatch(/^\s+at /m);
  });
});
