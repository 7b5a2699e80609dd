import { afterAll, beforeAll, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { TaskService } from "../../gen/drover/v1/task_service_pb.js";
import { DOORS, useDoors } from "../helpers/door-suite.ts";
import { newAgent, uniqueName } from "../helpers/fleet.ts";
import { readPrometheusPage, type ScrapedPage, sumOf } from "../helpers/prometheus-page.ts";
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
  const page = await waitFor(async () => {
    const found = await scrape();
    return sumOf(found, "drover_agents", { status: "busy", liveness: "live" }) > 0 ? found : false;
  });
  expect(sumOf(page, "drover_heartbeat_acknowledgement_seconds_count")).toBeGreaterThanOrEqual(3);
  expect(sumOf(page, "drover_heartbeat_batch_size_sum")).toBeGreaterThanOrEqual(3);
  expect(sumOf(page, "drover_tasks", { state: "pending" })).toBeGreaterThanOrEqual(1);
  expect(sumOf(page, "drover_task_changes_total", { type: "task.created" })).toBeGreaterThanOrEqual(1);
  expect(sumOf(page, "drover_heartbeat_queue")).toBe(0);
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
