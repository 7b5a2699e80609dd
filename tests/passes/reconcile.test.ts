import { describe, expect, test } from "vitest";
import { urlOf } from "../helpers/fake-github.ts";
import { type ProjectBench, usePasses } from "./pass-fixture.ts";

const bench = usePasses();

async function tasksOf(project: ProjectBench) {
  const { body } = await project.rest("GET", "/api/v1/tasks?orderBy=created_at");
  return body.tasks as {
    id: string;
    kind: string;
    state: string;
    labels: object;
    error?: { message: string };
  }[];
}

/** An agent of the project; resolves to its token. */
async function agentOf(project: ProjectBench): Promise<string> {
  const made = await project.rest("POST", "/api/v1/tokens", { role: "enrollment" });
  const enrolled = await bench.rest("POST", "/api/v1/agents:enroll", { name: "worker" }, made.body.secret);
  return enrolled.body.secret;
}

const rule = { label: "help", taskKind: "triage", priority: 8 };

describe("a rule", () => {
  test("makes one task of an issue with its label, and takes it back with the label", async () => {
    const project = await bench.project();
    bench.github.put("acme/rule", [{ number: 1, labels: ["help"], title: "Broken" }, { number: 2 }]);
    const tracker = await project.tracker("acme/rule", { rule });
    await project.pass();
    expect((await project.pass()).touchedIssueUrls).toEqual([]);
    const url = urlOf("acme/rule", 1);
    expect(await tasksOf(project)).toMatchObject([
      {
        kind: "triage",
        state: "pending",
        priority: 8,
        labels: { issue: url },
        payload: { url, number: 1, title: "Broken", repository: "acme/rule", labels: ["help"] },
      },
    ]);
    bench.github.put("acme/rule", [{ number: 1, updatedAt: "2024-03-01T00:00:00Z" }]);
    await project.pass();
    expect(await tasksOf(project)).toMatchObject([
      { state: "cancelled", error: { message: `its issue has lost the label: ${url}` } },
    ]);
    bench.github.put("acme/rule", [{ number: 1, labels: ["help"], updatedAt: "2024-03-02T00:00:00Z" }]);
    await project.pass();
    expect((await tasksOf(project)).map(({ state }) => state)).toEqual(["cancelled", "pending"]);
    await project.rest("PATCH", `/api/v1/trackers/${tracker}`, { noRule: true });
    await project.pass();
    expect((await tasksOf(project)).map(({ state }) => state)).toEqual(["cancelled", "cancelled"]);
  });

  test("makes no second task where the first was done", async () => {
    const project = await bench.project();
    bench.github.put("acme/done", [{ number: 1, labels: ["help"] }]);
    await project.tracker("acme/done", { rule });
    await project.pass();
    const token = await agentOf(project);
    const { body } = await bench.rest("POST", "/api/v1/agent/tasks:claim", { kinds: ["triage"] }, token);
    const [{ id }] = body.tasks;
    await bench.rest("POST", `/api/v1/agent/tasks/${id}:complete`, { leaseEpoch: "1" }, token);
    bench.github.put("acme/done", [{ number: 1, labels: [], updatedAt: "2024-03-01T00:00:00Z" }]);
    await project.pass();
    bench.github.put("acme/done", [{ number: 1, labels: ["help"], updatedAt: "2024-03-02T00:00:00Z" }]);
    await project.pass();
    expect((await tasksOf(project)).map(({ state }) => state)).toEqual(["succeeded"]);
  });

  test("takes its task back where the issue is gone", async () => {
    const project = await bench.project();
    bench.github.put("acme/gone", [{ number: 1, labels: ["help"] }]);
    await project.tracker("acme/gone", { rule });
    await project.pass();
    bench.github.remove("acme/gone", 1);
    await project.pass();
    expect((await tasksOf(project)).map(({ state }) => state)).toEqual(["pending"]);
    await bench.server.database`
      UPDATE issues SET confirmed_at = clock_timestamp() - interval '2 hours' WHERE url = ${urlOf("acme/gone", 1)}`;
    expect((await project.pass()).touchedIssueUrls).toEqual([urlOf("acme/gone", 1)]);
    expect((await tasksOf(project)).map(({ state }) => state)).toEqual(["cancelled"]);
  });
});

describe("an issue that closes upstream", () => {
  test("closes here, its lent task ends, and the agent is told; it opens again with a new one", async () => {
    const project = await bench.project();
    bench.github.put("acme/closing", [{ number: 1, labels: ["help"] }]);
    await project.tracker("acme/closing", { rule });
    await project.pass();
    const token = await agentOf(project);
    await bench.rest("POST", "/api/v1/agent/tasks:claim", { kinds: ["triage"] }, token);
    bench.github.put("acme/closing", [
      { number: 1, labels: ["help"], state: "closed", updatedAt: "2024-03-01T00:00:00Z" },
    ]);
    expect((await project.pass()).summary).toContain("1 issue closed, 1 task cancelled");
    const [task] = await tasksOf(project);
    expect(task).toMatchObject({ state: "cancelled" });
    const beat = await bench.rest("POST", "/api/v1/agent/heartbeat", { status: "online" }, token);
    expect(beat.body.commands).toMatchObject([{ kind: "cancelTask", taskId: task?.id }]);
    const issues = await project.rest("GET", "/api/v1/issues?state=closed");
    expect(issues.body.issues).toHaveLength(1);
    bench.github.put("acme/closing", [{ number: 1, labels: ["help"], updatedAt: "2024-03-02T00:00:00Z" }]);
    expect((await project.pass()).summary).toContain("1 issue reopened, 1 issue made tasks");
    expect((await tasksOf(project)).map(({ state }) => state)).toEqual(["cancelled", "pending"]);
    const types = await bench.server.database<{ type: string }>`
      SELECT e.type FROM events e JOIN projects p ON p.id = e.project_id
      WHERE p.name = ${project.name} AND e.type ~ '^(issue|run)' ORDER BY e.id`;
    const inner = types.map(({ type }) => type).filter((type) => !type.startsWith("run."));
    expect(inner).toEqual(["issue.closed", "issue.reopened"]);
    expect(types.filter(({ type }) => type === "run.finished")).toHaveLength(3);
  });

  test("ends the tasks that an operator made of it, and no other's", async () => {
    const [project, other] = [await bench.project(), await bench.project()];
    bench.github.put("acme/own", [{ number: 1, state: "closed" }]);
    const labels = { issue: urlOf("acme/own", 1) };
    for (const { rest } of [project, other]) await rest("POST", "/api/v1/tasks", { kind: "mine", labels });
    await project.rest("POST", "/api/v1/tasks", { kind: "other", labels: { issue: urlOf("acme/own", 2) } });
    await project.tracker("acme/own");
    expect((await project.pass()).status).toBe("ok");
    const states = (await tasksOf(project)).map(({ kind, state }) => [kind, state]);
    expect(states).toEqual([
      ["mine", "cancelled"],
      ["other", "pending"],
    ]);
    expect(await tasksOf(other)).toMatchObject([{ state: "pending" }]);
  });
});

test("what an agent holds that is no more goes back", async () => {
  const project = await bench.project();
  const made = await project.rest("POST", "/api/v1/tasks", { kind: "orphan" });
  const uuid = made.body.id.replace("task_", "");
  // As no path of the product leaves it.
  await bench.server.database`
    UPDATE tasks SET state = 'leased', agent_id = gen_random_uuid(), lease_epoch = 1, attempt = 1,
      leased_at = clock_timestamp(), lease_expires_at = clock_timestamp() + interval '1 hour' WHERE id = ${uuid}::uuid`;
  await bench.server.database`
    INSERT INTO task_attempts (project_id, task_id, lease_epoch, number, agent_id)
    SELECT project_id, id, 1, 1, agent_id FROM tasks WHERE id = ${uuid}::uuid`;
  expect((await project.pass()).summary).toContain("1 orphan requeued");
  expect(await tasksOf(project)).toMatchObject([{ state: "pending", losses: 1 }]);
});
