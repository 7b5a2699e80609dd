import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Code, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { readConfig } from "../../src/config.ts";
import { scrubJson } from "../../src/error-reports/scrub-secrets.ts";
import { openLogPush } from "../../src/observability/log-push.ts";
import { createLogger } from "../../src/observability/logger.ts";
import { nameOfStatement } from "../../src/observability/name-of-statement.ts";
import { openTracing } from "../../src/observability/tracing.ts";
import { Refusal } from "../../src/runtime/refusal.ts";
import { logCollectorOf, metricPushSettingsOf, tracingSettingsOf } from "../../src/telemetry-settings.ts";
import { startControlPlane, type TestControlPlane } from "../helpers/control-plane.ts";
import { type OtlpReceiver, type ReceivedSpan, startOtlpReceiver } from "../helpers/otlp-receiver.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { AgentLine, enroll, openTransport, WAYS } from "../sessions/agent-line.ts";

let receiver: OtlpReceiver;
let server: TestControlPlane;
let native: Transport & { close(): void };

beforeAll(async () => {
  receiver = await startOtlpReceiver();
  server = await startControlPlane({
    settings: {
      OTEL_EXPORTER_OTLP_ENDPOINT: `${receiver.url}/`,
      OTEL_EXPORTER_OTLP_HEADERS: "x-tenant=seven%207,x-signal=any",
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${receiver.url}/own/traces`,
      OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "http/json",
      OTEL_EXPORTER_OTLP_TRACES_HEADERS: "x-signal=traces",
      OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: "http/json",
      OTEL_METRIC_EXPORT_INTERVAL: "500",
      // The pruner looks as often as that.
      DROVER_RETENTION_ERRORS: "1s",
    },
  });
  native = openTransport(server, WAYS[0]);
});
let stopping: Promise<void> | undefined;
const stopServer = () => {
  native?.close();
  stopping ??= server?.stop();
  return stopping;
};
afterAll(async () => {
  await stopServer();
  await receiver?.close();
});

/** A caller's place in a trace of its own. */
function newParent(flags = "01"): { traceId: string; spanId: string; headers: { traceparent: string } } {
  const [traceId, spanId] = [randomBytes(16).toString("hex"), randomBytes(8).toString("hex")];
  return { traceId, spanId, headers: { traceparent: `00-${traceId}-${spanId}-${flags}` } };
}

const listMethod = "drover.v1.FleetService/ListAgents";

/** Lists agents through a door; answers whether it was served. */
const doors: Record<string, (headers: Record<string, string>) => Promise<boolean>> = {
  grpc: async (headers) => {
    await createClient(FleetService, native).listAgents({}, { headers });
    return true;
  },
  web: async (headers) => {
    const transport = createConnectTransport({ baseUrl: server.httpUrl, httpVersion: "1.1" });
    await createClient(FleetService, transport).listAgents({}, { headers });
    return true;
  },
  rest: async (headers) => (await fetch(`${server.httpUrl}/api/v1/agents`, { headers })).ok,
};

const authorized = (headers: Record<string, string>) => ({
  ...headers,
  authorization: `Bearer ${server.operatorToken}`,
});

const spansOf = (traceId: string) => receiver.spans.filter((span) => span.traceId === traceId);
const isStatement = ({ attributes }: ReceivedSpan) => attributes["db.system.name"] === "postgresql";

/** The spans of a trace once one with that name is among them; parts are sent with it or before. */
async function traceWith(traceId: string, name: string): Promise<ReceivedSpan[]> {
  await waitFor(() => spansOf(traceId).some((span) => span.name === name), { what: `a span ${name}` });
  return spansOf(traceId);
}

/** At once: each waits for the same sending. */
describe.concurrent("a collector that answers", () => {
  test.each(Object.entries(doors))(
    "gets a call through the door %s in its caller's trace",
    async (door, list) => {
      const parent = newParent();
      expect(await list(authorized(parent.headers))).toBe(true);
      const spans = await traceWith(parent.traceId, listMethod);
      const call = spans.find(({ name }) => name === listMethod);
      expect(call).toMatchObject({
        parentSpanId: parent.spanId,
        service: "drover",
        status: { code: 0 },
        attributes: {
          "rpc.method": listMethod,
          "rpc.response.status_code": "OK",
          "drover.door": door,
          "drover.role": "operator",
          "drover.project.id": expect.stringMatching(/^project_/),
        },
      });
      const statements = spans.filter(isStatement);
      expect(statements.map(({ name }) => name)).toContain("SELECT agents");
      for (const { parentSpanId } of statements) expect(parentSpanId).toBe(call?.spanId);
    },
  );

  test("a refused call is a span with its code, and no fault of the server", async () => {
    const parent = newParent();
    await expect(doors.grpc?.(parent.headers)).rejects.toMatchObject({ code: Code.Unauthenticated });
    const [call] = await traceWith(parent.traceId, listMethod);
    expect(call?.attributes).toMatchObject({ "rpc.response.status_code": "UNAUTHENTICATED" });
    expect(call?.status).toEqual({ code: 0 });
  });

  test("a heartbeat that is written by a batch goes on with its caller's trace, down to the statement", async () => {
    const { token } = await enroll(server, native);
    const parent = newParent();
    const headers = { ...parent.headers, authorization: `Bearer ${token}` };
    const agent = createClient(AgentService, native);
    await agent.heartbeat({ status: AgentStatus.BUSY }, { headers });
    const spans = await traceWith(parent.traceId, "drover.v1.AgentService/Heartbeat");
    const call = spans.find(({ name }) => name === "drover.v1.AgentService/Heartbeat");
    expect(call?.attributes["drover.agent.id"]).toMatch(/^agent_/);
    await waitFor(() => spansOf(parent.traceId).some(({ name }) => name === "UPDATE agent_states"));
    const batch = await waitFor(() =>
      spansOf(parent.traceId).find(({ name }) => name.startsWith("heartbeats")),
    );
    expect(batch.parentSpanId).toBe(call?.spanId);
    const transaction = await waitFor(() =>
      spansOf(parent.traceId).find(
        ({ name, parentSpanId }) => name === "transaction" && parentSpanId === batch.spanId,
      ),
    );
    const inside = spansOf(parent.traceId).filter(({ parentSpanId }) => parentSpanId === transaction.spanId);
    expect(inside.map(({ name }) => name)).toEqual(expect.arrayContaining(["BEGIN", "COMMIT"]));
    // What the log tells of it names the trace.
    const line = server
      .output()
      .split("\n")
      .find((one) => one.includes(parent.traceId));
    expect(JSON.parse(line ?? "{}")).toMatchObject({ msg: "agent status changed", trace_id: parent.traceId });
  });

  test("each message of a stream is a trace of its own, linked to the stream's span", async () => {
    const { token } = await enroll(server, native);
    const line = new AgentLine(native, token);
    await line.hello("boot");
    await line.ask({ case: "heartbeat", value: { status: AgentStatus.BUSY } });
    const refused = await line.ask({ case: "hello", value: { bootId: "boot" } });
    expect(refused.case).toBe("refusal");
    line.hangUp();
    expect(await line.end()).toBeUndefined();
    const find = (name: string) => receiver.spans.filter((span) => span.name === name);
    const [stream] = await waitFor(() => {
      const found = find("drover.v1.AgentService/Session");
      return found.length > 0 && found;
    });
    const messages = [...find("Session hello"), ...find("Session heartbeat")];
    expect(messages.map(({ attributes }) => attributes["rpc.response.status_code"])).toEqual([
      "OK",
      "FAILED_PRECONDITION",
      "OK",
    ]);
    for (const { traceId, links } of messages) {
      expect(links).toEqual([{ traceId: stream?.traceId, spanId: stream?.spanId }]);
      expect(traceId).not.toBe(stream?.traceId);
    }
    const [beat] = find("Session heartbeat");
    expect(spansOf(beat?.traceId ?? "").filter(isStatement).length).toBeGreaterThan(0);
  });

  test("a trace that its caller does not record is not recorded here, and no secret is sent", async () => {
    const unrecorded = newParent("00");
    await doors.rest?.(authorized(unrecorded.headers));
    const later = newParent();
    await doors.rest?.(authorized(later.headers));
    await traceWith(later.traceId, listMethod);
    expect(spansOf(unrecorded.traceId)).toEqual([]);
    const sent = receiver.bodies.map(({ bytes }) => bytes.toString()).join("");
    expect(sent).not.toMatch(/drv_[a-z]{3}_/);
  });

  test("a pass is a part of its call, and each of its steps a part of it", async () => {
    const parent = newParent();
    const headers = authorized(parent.headers);
    const passed = await fetch(`${server.httpUrl}/api/agents/anybody/heartbeat`, { method: "POST", headers });
    expect(passed.status).toBe(200);
    const method = "drover.v1.PassService/RunHeartbeatPass";
    const spans = await traceWith(parent.traceId, method);
    const named = (wanted: string) => spans.find(({ name }) => name === wanted);
    expect(named("pass")?.parentSpanId).toBe(named(method)?.spanId);
    for (const step of ["step sync", "step reconcile"])
      expect(named(step)?.parentSpanId).toBe(named("pass")?.spanId);
  });

  test("what the server does by itself is a trace where there was something to do", async () => {
    const { token, name } = await enroll(server, native);
    const agent = createClient(AgentService, native);
    const error = { severity: Severity.MINOR, message: "soon forgotten" };
    await agent.reportError(error, { headers: { authorization: `Bearer ${token}` } });
    await createClient(FleetService, native).drainAgent({ agent: name }, { headers: authorized({}) });
    for (const work of ["number events", "sweep", "prune"]) {
      const [root] = await waitFor(() => {
        const found = receiver.spans.filter((span) => span.name === work);
        return found.length > 0 && found;
      });
      expect(root?.parentSpanId).toBeUndefined();
      expect(Number(root?.attributes["drover.count"])).toBeGreaterThan(0);
      expect(spansOf(root?.traceId ?? "").filter(isStatement).length).toBeGreaterThan(0);
    }
    // Rounds come many times a second, and nearly all find nothing.
    const counts = receiver.spans.flatMap(({ attributes }) => attributes["drover.count"] ?? []);
    expect(counts.every((count) => Number(count) > 0)).toBe(true);
  });

  test("metrics are sent as well", async () => {
    await doors.grpc?.(authorized({}));
    const [calls] = await waitFor(() => {
      const found = receiver.metrics.filter(({ name }) => name === "drover_rpc_handled_total");
      return found.some(({ sum }) => (sum?.dataPoints.length ?? 0) > 0) && found.slice(-1);
    });
    const labels = calls?.sum?.dataPoints.map(({ attributes }) =>
      Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue])),
    );
    expect(labels).toContainEqual({ method: listMethod, door: "grpc", code: "OK" });
    const seconds = receiver.metrics.findLast(({ name }) => name === "drover_rpc_duration_seconds");
    for (const { count, bucketCounts = [] } of seconds?.histogram?.dataPoints ?? []) {
      expect(bucketCounts.reduce<number>((total, one) => total + Number(one), 0)).toBe(Number(count));
    }
    expect(receiver.metrics.some(({ name, gauge }) => name === "drover_agents" && gauge !== undefined)).toBe(
      true,
    );
  });
});

test("each signal has gone to its own address, in its own protocol, with its own headers", async () => {
  const sent = new Map(receiver.bodies.map(({ path, type, headers }) => [path, [type, headers["x-signal"]]]));
  expect(Object.fromEntries(sent)).toEqual({
    "/own/traces": ["application/json", "traces"],
    "/v1/metrics": ["application/json", "any"],
  });
  for (const { headers } of receiver.bodies) expect(headers["x-tenant"]).toBe("seven 7");
});

test("calls are served while the collector is away, and that is told once", async () => {
  await receiver.close();
  const told = () => server.output().split("spans could not be sent").length - 1;
  await doors.grpc?.(authorized(newParent().headers));
  await waitFor(() => told() > 0);
  await doors.grpc?.(authorized(newParent().headers));
  // Which tries to send the span of that call, in vain.
  await stopServer();
  expect(told()).toBe(1);
});

test("protobuf is what a collector gets when nothing else is said, and a stop sends what has ended", async () => {
  const collector = await startOtlpReceiver();
  const settings = tracingSettingsOf(readConfig({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url }, {}));
  const tracing = await openTracing(settings, (error) => {
    throw error;
  });
  const { traceId, headers } = newParent();
  tracing?.beginCall("call", {}, new Headers(headers)).end(false);
  await tracing?.stop();
  await collector.close();
  expect(collector.bodies.map(({ path, type }) => [path, type])).toEqual([
    ["/v1/traces", "application/x-protobuf"],
  ]);
  expect(collector.bodies[0]?.bytes.includes(Buffer.from(traceId, "hex"))).toBe(true);
});

test.each([
  ["always_on", [1, 1, 1]],
  ["always_off", [0, 0, 0]],
  ["parentbased_always_on", [1, 1, 0]],
  ["parentbased_always_off", [0, 1, 0]],
  ["traceidratio", [0, 0, 0]],
  ["parentbased_traceidratio", [0, 1, 0]],
])(
  "the sampler %s with a share of 0 records %j of own, recorded and unrecorded traces",
  async (sampler, expected) => {
    const collector = await startOtlpReceiver();
    const settings = {
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_TRACES_SAMPLER: sampler,
      OTEL_TRACES_SAMPLER_ARG: "0",
    };
    const tracing = await openTracing(tracingSettingsOf(readConfig(settings, {})), (error) => {
      throw error;
    });
    tracing?.beginCall("0", {}, new Headers()).end(false);
    tracing?.beginCall("1", {}, new Headers(newParent("01").headers)).end(false);
    tracing?.beginCall("2", {}, new Headers(newParent("00").headers)).end(false);
    await tracing?.stop();
    await collector.close();
    const names = collector.spans.map(({ name }) => name);
    expect(["0", "1", "2"].map((name) => names.filter((one) => one === name).length)).toEqual(expected);
  },
);

test("of rounds of work those are told that did something or failed, and ten a second of them", async () => {
  const collector = await startOtlpReceiver();
  const settings = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_EXPORTER_OTLP_PROTOCOL: "http/json" };
  const tracing = await openTracing(tracingSettingsOf(readConfig(settings, {})), (error) => {
    throw error;
  });
  const statement = async (count: number) => {
    tracing?.beginStatement("SELECT 1")?.();
    return count;
  };
  const around = (name: string) => tracing?.background(name) ?? ((round) => round());
  expect(await around("idle")(() => statement(0))).toBe(0);
  expect(await around("busy")(() => statement(3))).toBe(3);
  const failing = around("failing")(async () => {
    await statement(0);
    throw new RangeError("broken");
  });
  await expect(failing).rejects.toThrow("broken");
  const call = tracing?.beginCall("call", {}, new Headers());
  for (const error of [new Refusal("not-found", "no such task"), new RangeError("broken")]) {
    const refuse = () => tracing?.transaction(() => Promise.reject(error)) ?? Promise.resolve();
    await expect(call?.run(refuse)).rejects.toBe(error);
  }
  const often = around("often");
  const began = Math.floor(performance.now() / 1000);
  for (let n = 0; n < 50; n++) await often(() => statement(1));
  const seconds = Math.floor(performance.now() / 1000) - began + 1;
  await tracing?.stop();
  await collector.close();
  const named = (name: string) => collector.spans.filter((span) => span.name === name);
  expect(named("idle")).toEqual([]);
  expect(named("busy")).toMatchObject([{ attributes: { "drover.count": 3 }, status: { code: 0 } }]);
  expect(named("failing")).toMatchObject([
    { attributes: { "error.type": "RangeError" }, status: { code: 2 } },
  ]);
  expect(named("transaction").map(({ status }) => status.code)).toEqual([0, 2]);
  expect(named("often").length).toBeGreaterThanOrEqual(10);
  expect(named("often").length).toBeLessThanOrEqual(10 * seconds);
  const roots = ["busy", "failing", "often"].flatMap((name) => named(name).map(({ spanId }) => spanId));
  const parents = named("SELECT").map(({ parentSpanId }) => parentSpanId);
  expect(parents.sort()).toEqual(roots.sort());
});

test("the log is sent with its traces' ids and without secrets", async () => {
  const collector = await startOtlpReceiver();
  const settings = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_EXPORTER_OTLP_PROTOCOL: "http/json" };
  const push = await openLogPush(logCollectorOf(readConfig(settings, {})), (error) => {
    throw error;
  });
  const { traceId, spanId } = newParent();
  const fields = () => ({ trace_id: traceId, span_id: spanId });
  const destination = { write: () => {} };
  const copy = (line: string) => push?.write(line);
  const logger = createLogger({ level: "info", scrub: scrubJson, destination, fields, copy });
  logger.warn({ agent: "gpu-1", token: "drv_agt_secret", err: new Error("broken") }, "agent lost");
  await push?.stop();
  await collector.close();
  expect(collector.bodies.map(({ path }) => path)).toEqual(["/v1/logs"]);
  const sent = JSON.parse(String(collector.bodies[0]?.bytes));
  const [record] = sent.resourceLogs[0].scopeLogs[0].logRecords;
  expect(record).toMatchObject({
    traceId,
    spanId,
    severityNumber: 13,
    severityText: "warn",
    body: { stringValue: "agent lost" },
  });
  expect(record.attributes).toContainEqual({ key: "agent", value: { stringValue: "gpu-1" } });
  expect(record.attributes).toContainEqual({ key: "token", value: { stringValue: "[REDACTED]" } });
});

describe("without a collector", () => {
  test("nothing is sent, nor where all three are left out", async () => {
    const off = { OTEL_TRACES_EXPORTER: "none", OTEL_METRICS_EXPORTER: "none", OTEL_LOGS_EXPORTER: "none" };
    for (const settings of [{}, { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:4318", ...off }]) {
      const config = readConfig(settings, {});
      expect(await openTracing(tracingSettingsOf(config), () => {})).toBeUndefined();
      expect(await openLogPush(logCollectorOf(config), () => {})).toBeUndefined();
      expect(metricPushSettingsOf(config)).toBeUndefined();
    }
  });

  test("the libraries are not loaded: what imports them is itself loaded only when asked for", () => {
    const src = fileURLToPath(new URL("../../src", import.meta.url));
    const importers = readdirSync(src, { recursive: true, encoding: "utf8" }).filter((name) => {
      if (!name.endsWith(".ts") || name.startsWith("observability/otlp-")) return false;
      const text = readFileSync(`${src}/${name}`, "utf8");
      return /^import (?!type )[^;]*"(@opentelemetry\/|[^"]*\/otlp-)/m.test(text);
    });
    expect(importers).toEqual([]);
  });
});

test.each([
  ["select 1", "SELECT"],
  ['select "a"."id" from "agents" "a" where "a"."id" = $1', "SELECT agents"],
  ["\n  -- why\n  UPDATE agent_states SET x = 1", "UPDATE agent_states"],
  ['insert into "tasks" ("id") values ($1)', "INSERT tasks"],
  ['select extract(epoch from "a"."time") from "agents" "a"', "SELECT agents"],
  ["UPDATE agent_states s SET x = 1 FROM unnest($1::uuid[]) u", "UPDATE agent_states"],
  ["SELECT id FROM unnest($1::uuid[]) i WHERE EXISTS (SELECT FROM agents)", "SELECT"],
  ['select (SELECT max(x) FROM errors), "id" from "agents"', "SELECT agents"],
  ["WITH due AS (SELECT id FROM ONLY tasks) DELETE FROM ONLY attempts", "WITH attempts"],
  ["COMMIT", "COMMIT"],
  ["", "SQL"],
])("%j is named %s", (text, name) => {
  expect(nameOfStatement(text)).toBe(name);
});
