import { describe, expect, test } from "vitest";
import { readConfig } from "../src/config.ts";
import { logCollectorOf, metricPushSettingsOf, tracingSettingsOf } from "../src/telemetry-settings.ts";

type Env = Record<string, string>;

const routes = (env: Env) => {
  const config = readConfig(env, {});
  const collectors = [tracingSettingsOf(config), metricPushSettingsOf(config), logCollectorOf(config)];
  return collectors.map((one) => one?.url);
};
const base = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://c:4318" };
const own = { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "https://t.example/in" };

describe("where traces, metrics and the log are sent to", () => {
  test.each<[string, Env, (string | undefined)[]]>([
    ["nowhere when nothing is set", {}, [undefined, undefined, undefined]],
    ["to paths below one address", base, at("http://c:4318/v1/", "traces", "metrics", "logs")],
    [
      "below its path, with or without a slash at its end",
      { OTEL_EXPORTER_OTLP_ENDPOINT: "http://c/otel/" },
      at("http://c/otel/v1/", "traces", "metrics", "logs"),
    ],
    [
      "to a signal's own address as it stands",
      { ...base, ...own },
      ["https://t.example/in", ...at("http://c:4318/v1/", "metrics", "logs")],
    ],
    ["to a signal's own address alone", own, ["https://t.example/in", undefined, undefined]],
    [
      "to the root of an address without a path",
      { OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: "http://l:1" },
      [undefined, undefined, "http://l:1/"],
    ],
    [
      "to this machine where an exporter is asked for and none is named",
      { OTEL_METRICS_EXPORTER: "otlp" },
      [undefined, "http://localhost:4318/v1/metrics", undefined],
    ],
    [
      "not what an exporter of none keeps back",
      { ...base, ...own, OTEL_TRACES_EXPORTER: "none", OTEL_LOGS_EXPORTER: "None" },
      [undefined, "http://c:4318/v1/metrics", undefined],
    ],
    [
      "nowhere when all of it is switched off",
      { ...base, ...own, OTEL_TRACES_EXPORTER: "otlp", OTEL_SDK_DISABLED: "True" },
      [undefined, undefined, undefined],
    ],
    [
      "as if unset where a variable is empty",
      { ...base, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "", OTEL_SDK_DISABLED: "" },
      at("http://c:4318/v1/", "traces", "metrics", "logs"),
    ],
  ])("%s", (_, env, urls) => {
    expect(routes(env)).toEqual(urls);
  });
});

describe("how they are sent", () => {
  test.each<[string, Env, object]>([
    ["by protobuf without headers", {}, { protocol: "http/protobuf", headers: {} }],
    [
      "by the signal's own protocol",
      { OTEL_EXPORTER_OTLP_PROTOCOL: "http/protobuf", OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "http/json" },
      { protocol: "http/json" },
    ],
    ["by that of all", { OTEL_EXPORTER_OTLP_PROTOCOL: "HTTP/JSON" }, { protocol: "http/json" }],
    [
      "with headers decoded, their properties left out, the signal's own before those of all",
      {
        OTEL_EXPORTER_OTLP_HEADERS: "API-Key=all , authorization=Bearer%20a%3Db;note",
        OTEL_EXPORTER_OTLP_TRACES_HEADERS: "api-key=traces",
        OTEL_EXPORTER_OTLP_METRICS_HEADERS: "api-key=metrics",
      },
      { headers: { "api-key": "traces", authorization: "Bearer a=b" } },
    ],
    ["with every trace that callers do not decide", {}, { sampler: "parentbased_always_on" }],
    [
      "with a share of them",
      { OTEL_TRACES_SAMPLER: "ParentBased_TraceIdRatio", OTEL_TRACES_SAMPLER_ARG: "0.25" },
      { sampler: "parentbased_traceidratio", share: 0.25 },
    ],
    ["with all of a share that is not named", { OTEL_TRACES_SAMPLER: "traceidratio" }, { share: 1 }],
    [
      "with every trace where a share stands without its sampler",
      { OTEL_TRACES_SAMPLER_ARG: "0.1" },
      { sampler: "parentbased_always_on" },
    ],
  ])("%s", (_, env, traces) => {
    expect(tracingSettingsOf(readConfig({ ...base, ...env }, {}))).toMatchObject(traces);
  });
});

function at(address: string, ...signals: string[]): string[] {
  return signals.map((signal) => address + signal);
}
