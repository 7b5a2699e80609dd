/** OpenTelemetry's own environment variables, as its specification has them, and what they make of each signal. */
import { z } from "zod";
import type { Collector } from "./observability/collector.ts";
import type { MetricPushSettings } from "./observability/metric-push.ts";
import { type SamplerName, samplerNames, type TracingSettings } from "./observability/tracing.ts";
import { bad, good, listOf, type Parsed, parseNumber, type SettingRule } from "./setting-rule.ts";

const signals = ["traces", "metrics", "logs"] as const;
type Signal = (typeof signals)[number];
const protocols = ["http/protobuf", "http/json"] as const;
const exporters = ["otlp", "none"] as const;

/** The settings, parsed. Undefined is what nobody has set. */
export interface TelemetryConfig extends Routes {
  /** Sends nothing, whatever the others say. */
  telemetryDisabled: boolean;
  /** What counts for each signal that has none of its own. */
  otlpEndpoint: string | undefined;
  otlpProtocol: Collector["protocol"];
  otlpHeaders: Collector["headers"];
  metricsEveryMs: number;
  tracesSampler: SamplerName | undefined;
  /** The sampler's argument: a share of traces, 0 to 1. */
  tracesShare: number;
}

/** What each signal may have of its own. */
type Routes = Record<`${Signal}Exporter`, (typeof exporters)[number] | undefined> &
  Record<`${Signal}Endpoint`, string | undefined> &
  Record<`${Signal}Protocol`, Collector["protocol"] | undefined> &
  Record<`${Signal}Headers`, Collector["headers"]>;

const BY_DEFAULT = "http://localhost:4318";
const nameOf = { traces: "traces", metrics: "metrics", logs: "the log" } satisfies Record<Signal, string>;

export const telemetryRules: SettingRule<keyof TelemetryConfig>[] = [
  {
    env: "OTEL_SDK_DISABLED",
    default: "false",
    description: "true sends nothing to OpenTelemetry collectors, whatever else is set",
    key: "telemetryDisabled",
    parse: (text) =>
      /^(true|false)$/i.test(text) ? good(text.toLowerCase() === "true") : bad("must be true or false"),
  },
  {
    env: "OTEL_EXPORTER_OTLP_ENDPOINT",
    default: "",
    description: `address of an OpenTelemetry collector for traces, metrics and the log, such as ${BY_DEFAULT}`,
    key: "otlpEndpoint",
    parse: parseHttpUrl,
    secret: true,
  },
  {
    env: "OTEL_EXPORTER_OTLP_PROTOCOL",
    default: protocols[0],
    description: `how it is spoken to: ${protocols.join(" or ")}`,
    key: "otlpProtocol",
    parse: (text) => parseWord(text, protocols),
  },
  {
    env: "OTEL_EXPORTER_OTLP_HEADERS",
    default: "",
    description: "headers that it is sent, such as api-key=abc,x-tenant=7",
    key: "otlpHeaders",
    parse: parseHeaders,
    secret: true,
  },
  ...signals.flatMap(routeRules),
  {
    env: "OTEL_METRIC_EXPORT_INTERVAL",
    default: "60000",
    description: "milliseconds between two times that metrics are sent",
    key: "metricsEveryMs",
    parse: (text) =>
      parseNumber(text, (value) => value >= 100 && value <= 3_600_000, "between 100 and 3600000"),
  },
  {
    env: "OTEL_TRACES_SAMPLER",
    default: "",
    description: `which traces are recorded: one of ${samplerNames.join(", ")}; parentbased_always_on when left out`,
    key: "tracesSampler",
    parse: (text) => (text === "" ? good(undefined) : parseWord(text, samplerNames)),
  },
  {
    env: "OTEL_TRACES_SAMPLER_ARG",
    default: "1",
    description: "share of traces that a sampler with traceidratio records, from 0 to 1",
    key: "tracesShare",
    parse: parseShare,
  },
];

function routeRules(signal: Signal): SettingRule<keyof Routes>[] {
  const [prefix, name] = [`OTEL_EXPORTER_OTLP_${signal.toUpperCase()}`, nameOf[signal]];
  return [
    {
      env: `OTEL_${signal.toUpperCase()}_EXPORTER`,
      default: "",
      description: `none keeps ${name} from the collector; otlp sends to ${BY_DEFAULT} where none is named`,
      key: `${signal}Exporter`,
      parse: (text) => (text === "" ? good(undefined) : parseWord(text, exporters)),
    },
    {
      env: `${prefix}_ENDPOINT`,
      default: "",
      description: `another address for ${name}, with its whole path`,
      key: `${signal}Endpoint`,
      parse: parseHttpUrl,
      secret: true,
    },
    {
      env: `${prefix}_PROTOCOL`,
      default: "",
      description: `another protocol for ${name}`,
      key: `${signal}Protocol`,
      parse: (text) => (text === "" ? good(undefined) : parseWord(text, protocols)),
    },
    {
      env: `${prefix}_HEADERS`,
      default: "",
      description: `further headers for ${name}; they count before those for all`,
      key: `${signal}Headers`,
      parse: parseHeaders,
      secret: true,
    },
  ];
}

const text = z.union([z.string(), z.undefined()]);
const protocol = z.union([z.enum(protocols), z.undefined()]);
const exporter = z.union([z.enum(exporters), z.undefined()]);
const headers = z.record(z.string(), z.string());

export const telemetryShape = {
  telemetryDisabled: z.boolean(),
  otlpEndpoint: text,
  otlpProtocol: z.enum(protocols),
  otlpHeaders: headers,
  tracesExporter: exporter,
  metricsExporter: exporter,
  logsExporter: exporter,
  tracesEndpoint: text,
  metricsEndpoint: text,
  logsEndpoint: text,
  tracesProtocol: protocol,
  metricsProtocol: protocol,
  logsProtocol: protocol,
  tracesHeaders: headers,
  metricsHeaders: headers,
  logsHeaders: headers,
  metricsEveryMs: z.number(),
  tracesSampler: z.union([z.enum(samplerNames), z.undefined()]),
  tracesShare: z.number(),
};

/** Where spans go and which of them; undefined where none are wanted. */
export function tracingSettingsOf(config: TelemetryConfig): TracingSettings | undefined {
  const collector = collectorOf("traces", config);
  const { tracesSampler: sampler = "parentbased_always_on", tracesShare: share } = config;
  return collector && { ...collector, sampler, share };
}

/** The same for metrics. */
export function metricPushSettingsOf(config: TelemetryConfig): MetricPushSettings | undefined {
  const collector = collectorOf("metrics", config);
  return collector && { ...collector, everyMs: config.metricsEveryMs };
}

/** The same for the log. */
export function logCollectorOf(config: TelemetryConfig): Collector | undefined {
  return collectorOf("logs", config);
}

/** What is set for the signal alone counts before what is set for all; an address of its own is taken as it stands. */
function collectorOf(signal: Signal, config: TelemetryConfig): Collector | undefined {
  const exporter = config[`${signal}Exporter`];
  if (config.telemetryDisabled || exporter === "none") return undefined;
  const own = config[`${signal}Endpoint`];
  const shared = config.otlpEndpoint ?? (exporter === "otlp" ? BY_DEFAULT : undefined);
  const url = own ?? (shared && `${shared.replace(/\/+$/, "")}/v1/${signal}`);
  if (url === undefined) return undefined;
  return {
    url: new URL(url).href,
    protocol: config[`${signal}Protocol`] ?? config.otlpProtocol,
    headers: { ...config.otlpHeaders, ...config[`${signal}Headers`] },
  };
}

/** The specification wants words to be read without regard to their case. */
function parseWord(text: string, words: readonly string[]): Parsed {
  const word = text.toLowerCase();
  return words.includes(word) ? good(word) : bad(`must be ${orOf(words)}`);
}

function orOf(words: readonly string[]): string {
  return `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}

function parseHttpUrl(text: string): Parsed {
  if (text === "") return good(undefined);
  const isHttp = /^https?:\/\//.test(text) && URL.canParse(text);
  return isHttp ? good(text) : bad("must be an address that begins with http:// or https://");
}

/** Pairs as in W3C's baggage: values are percent-encoded, and what stands behind a semicolon says nothing here. */
function parseHeaders(text: string): Parsed {
  const pairs: [string, string][] = [];
  for (const item of listOf(text)) {
    const [, name, encoded = ""] = /^([!#$%&'*+.^_`|~\w-]+)\s*=\s*([^;]*?)\s*(?:;.*)?$/.exec(item) ?? [];
    const value = decoded(encoded);
    if (name === undefined || value === undefined)
      return bad("must be pairs such as api-key=abc,x-tenant=7, their values percent-encoded");
    pairs.push([name.toLowerCase(), value]);
  }
  return good(Object.fromEntries(pairs));
}

/** Undefined where it cannot stand in a header. */
function decoded(encoded: string): string | undefined {
  try {
    const value = decodeURIComponent(encoded);
    return /^[\t\x20-\x7e\x80-\xff]*$/.test(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** In any notation of numbers: other programs read the same variable. */
function parseShare(text: string): Parsed {
  const value = /^[+]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
  return value <= 1 ? good(value) : bad("must be from 0 to 1");
}
