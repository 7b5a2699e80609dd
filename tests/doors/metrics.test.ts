import { readFile } from "node:fs/promises";
import { Code } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { TaskService } from "../../gen/drover/v1/task_service_pb.js";
import { DOORS, useDoors } from "../helpers/door-suite.ts";
import { newAgent, uniqueName } from "../helpers/fleet.ts";
import { readPrometheusPage, type ScrapedPage, sumOf } from "../helpers/prometheus-page.ts";
import { readSelectors } from "../helpers/promql.ts";
import { waitFor } from "../helpers/wait-for.ts";

const doors = useDoors();

async function scrape(): Promise<ScrapedPage> {
  const answer = await fetch(`${doors.server.httpUrl}/metrics`);
  expect([answer.status, answer.headers.get("content-type")]).toEqual([
    200,
    expect.stringContaining("text/plain; version=0.0.4"),
  ]);
  return readPrometheusPage(await answer.text());
}

const doorLabels = { grpc: 1, web: 4, rest: 1 };

let before: ScrapedPage;
beforeAll(async () => {
  before = await scrape();
});
afterAll(async () => {
  // Numbers only: no name of an agent, of a project or of a token is a label.
  const labels = new Set((await scrape()).samples.flatMap(({ labels }) => Object.keys(labels)));
  for (const name of ["agent", "project", "token", "task", "kind_of_task"])
    expect(labels).not.toContain(name);
});

test("calls are counted by method, door and code", async () => {
  for (const name of DOORS) {
    await doors.door(name).call(FleetService.method.listAgents, {}, { token: doors.server.operatorToken });
    await doors.door(name).call(FleetService.method.listAgents, {});
  }
  const after = await scrape();
  const method = "drover.v1.FleetService/ListAgents";
  for (const [door, count] of Object.entries(doorLabels)) {
    for (const code of ["OK", "UNAUTHENTICATED"]) {
      const labels = { method, door, code };
      expect(sumOf(after, "drover_rpc_handled_total", labels)).toBe(
        sumOf(before, "drover_rpc_handled_total", labels) + count,
      );
    }
    const buckets = { method, door, le: "+Inf" };
    expect(sumOf(after, "drover_rpc_duration_seconds_bucket", buckets)).toBeGreaterThanOrEqual(2 * count);
    expect(sumOf(after, "drover_rpc_duration_seconds_count", { method, door })).toBe(
      sumOf(after, "drover_rpc_duration_seconds_bucket", buckets),
    );
  }
  expect(sumOf(after, "drover_rpc_open", { method })).toBe(0);
});

test("heartbeats, agents and tasks are counted", async () => {
  const { token, name } = await newAgent(doors);
  expect(name).not.toBe("");
  for (const _ of [1, 2, 3]) {
    await doors.anyDoor.call(AgentService.method.heartbeat, { status: AgentStatus.BUSY }, { token });
  }
  const kind = uniqueName("kind");
  await doors.anyDoor.call(TaskService.method.createTask, { kind }, { token: doors.server.operatorToken });
  const claim = { kinds: [kind], max: 1, wait: { seconds: 10n } };
  const claimed = await doors.anyDoor.call(AgentService.method.claimTasks, claim, { token });
  const [task] = claimed.ok ? claimed.message.tasks : [];
  await doors.anyDoor.call(
    AgentService.method.completeTask,
    { task: task?.id ?? "", leaseEpoch: task?.lease?.epoch ?? 0n },
    { token },
  );
  await doors.anyDoor.call(TaskService.method.createTask, { kind }, { token: doors.server.operatorToken });
  // One is lent, and one at work.
  for (const _ of [1, 2])
    await doors.anyDoor.call(TaskService.method.createTask, { kind }, { token: doors.server.operatorToken });
  const both = await doors.anyDoor.call(AgentService.method.claimTasks, { ...claim, max: 2 }, { token });
  const [begun] = both.ok ? both.message.tasks : [];
  const start = { task: begun?.id ?? "", leaseEpoch: begun?.lease?.epoch ?? 0n, progress: 0.1 };
  await doors.anyDoor.call(AgentService.method.updateTask, start, { token });
  const ages = ["pending", "leased", "running"].map((state) => ({ state }));
  const aged = async () => {
    const found = await scrape();
    return ages.map((labels) => sumOf(found, "drover_tasks_oldest_seconds", labels));
  };
  await waitFor(async () => (await aged()).every((seconds) => seconds > 0));
  const page = await waitFor(async () => {
    const found = await scrape();
    const busy = sumOf(found, "drover_agents", { status: "busy", liveness: "live" });
    return busy > 0 && sumOf(found, "drover_tasks", { state: "succeeded" }) > 0 ? found : false;
  });
  expect(sumOf(page, "drover_heartbeat_acknowledgement_seconds_count")).toBeGreaterThanOrEqual(3);
  expect(sumOf(page, "drover_heartbeat_batch_size_sum")).toBeGreaterThanOrEqual(3);
  expect(sumOf(page, "drover_tasks", { state: "pending" })).toBeGreaterThanOrEqual(1);
  expect(sumOf(page, "drover_task_changes_total", { type: "task.created" })).toBeGreaterThanOrEqual(1);
  expect(sumOf(page, "drover_tasks", { state: "succeeded" })).toBe(1);
  expect(sumOf(page, "drover_task_changes_total", { type: "task.succeeded" })).toBeGreaterThanOrEqual(1);
  expect(sumOf(page, "drover_task_changes_total", { type: "task.leased" })).toBeGreaterThanOrEqual(1);
  expect(sumOf(page, "drover_heartbeat_queue")).toBe(0);
  for (const pool of ["calls", "heartbeats"])
    expect(sumOf(page, "drover_database_connections", { pool })).toBeGreaterThanOrEqual(1);
  expect(sumOf(page, "drover_database_connections")).toBeGreaterThanOrEqual(1);
});

test("every metric says what it is, and the process tells of itself", async () => {
  const { types, samples } = await scrape();
  for (const { name } of samples) {
    const family = name.replace(/_(bucket|sum|count)$/, "");
    expect([name, types.has(name) || types.get(family)]).not.toEqual([name, undefined]);
  }
  expect(types.get("process_cpu_seconds_total")).toBe("counter");
  expect(types.get("nodejs_eventloop_lag_seconds")).toBe("gauge");
});

describe("deploy/", () => {
  const shipped = async (path: string) =>
    await readFile(new URL(`../../deploy/${path}`, import.meta.url), "utf8");

  /** Labels that Prometheus adds, and the only metric that it makes itself. */
  const added = ["job", "instance"];
  const codes = Object.values(Code).filter((code) => typeof code === "string");
  const knownCodes = new Set(codes.map((code) => code.replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase()));

  async function expectKnown(expressions: string[]) {
    const { token } = await newAgent(doors);
    await doors.anyDoor.call(AgentService.method.heartbeat, { status: AgentStatus.ERROR }, { token });
    const { samples } = await waitFor(async () => {
      const found = await scrape();
      return sumOf(found, "drover_agents", { status: "error" }) > 0 ? found : false;
    });
    for (const expression of expressions) {
      const { selectors, grouping } = readSelectors(expression);
      expect([expression, selectors]).not.toEqual([expression, []]);
      const labels = new Set(added);
      for (const { metric, matchers } of selectors) {
        if (metric === "up") continue;
        const found = samples.filter(({ name }) => name === metric);
        expect([metric, found.length > 0]).toEqual([metric, true]);
        for (const { labels: own } of found) for (const label of Object.keys(own)) labels.add(label);
        for (const { label, value } of matchers) {
          if (added.includes(label)) continue;
          const values = new Set(found.map(({ labels: own }) => own[label]));
          expect([metric, label, values.has(undefined)]).toEqual([metric, label, false]);
          for (const each of value.split("|"))
            expect([metric, each, values.has(each) || (label === "code" && knownCodes.has(each))]).toEqual([
              metric,
              each,
              true,
            ]);
        }
      }
      expect([expression, grouping.filter((label) => !labels.has(label))]).toEqual([expression, []]);
    }
  }

  test("every alert rule names metrics, labels and values that exist", async () => {
    const rule = z.strictObject({
      alert: z.string(),
      expr: z.string(),
      for: z.string().optional(),
      labels: z.strictObject({ severity: z.enum(["warning", "critical"]) }),
      annotations: z.strictObject({ summary: z.string() }),
    });
    const file = z.strictObject({
      groups: z.array(z.strictObject({ name: z.string(), rules: z.array(rule).min(1) })).min(1),
    });
    const { groups } = file.parse(parse(await shipped("prometheus/drover.rules.yaml")));
    const rules = groups.flatMap(({ rules }) => rules);
    expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
    await expectKnown(rules.map(({ expr }) => expr));
  });

  test("so does every panel of the dashboard", async () => {
    const panel = z.object({ title: z.string(), targets: z.array(z.object({ expr: z.string() })).min(1) });
    const { panels } = z
      .object({ panels: z.array(panel).min(1) })
      .parse(JSON.parse(await shipped("grafana/drover.json")));
    const expressions = panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
    await expectKnown(expressions.map((expr) => expr.replaceAll("$__rate_interval", "5m")));
  });
});
