import { describe, expect, test } from "vitest";
import { type ExplainedAgent, explainAgent } from "../../src/fleet/explain-agent.ts";
import { explainTask, type TaskFacts } from "../../src/tasks/explain-task.ts";
import type { AgentFacts } from "../../src/tasks/explanation.ts";

const task = (more: Partial<TaskFacts> = {}): TaskFacts => ({
  id: "01920000-0000-7000-8000-000000000002",
  kind: "hash",
  state: "pending",
  requirements: { capabilities: ["cuda"], labels: { zone: "a" } },
  priority: 5,
  retries: 1,
  maxRetries: 3,
  attempt: 1,
  agentName: undefined,
  remainingMs: undefined,
  waitsUntil: undefined,
  waitsByWish: false,
  error: undefined,
  ahead: 0,
  ...more,
});
const agent = (more: Partial<AgentFacts> = {}): AgentFacts => ({
  id: "01920000-0000-7000-8000-000000000001",
  name: "gpu-1",
  status: "online",
  liveness: "live",
  offer: { capabilities: ["cuda"], labels: { zone: "a" } },
  held: 0,
  asks: undefined,
  ...more,
});
const among = (...agents: AgentFacts[]) => ({
  agents,
  total: agents.length,
  matching: agents.filter(({ offer }) => offer.capabilities.includes("cuda")).length,
});
const codes = ({ reasons }: { reasons: readonly { code: string }[] }) => reasons.map(({ code }) => code);

describe("a task", () => {
  test.each([
    ["no agents at all", among(), "NO_AGENTS", "has no agents"],
    [
      "none that has what it requires",
      among(agent({ offer: { capabilities: [], labels: {} } })),
      "NO_MATCHING_AGENT",
      "the capability cuda, the label zone=a",
    ],
    ["one in error", among(agent({ status: "error" })), "NO_AVAILABLE_AGENT", "no agent that has"],
    ["one that is gone", among(agent({ liveness: "offline" })), "NO_AVAILABLE_AGENT", "no agent that has"],
    ["one at work", among(agent({ held: 2 })), "AGENTS_BUSY", "at work: gpu-1"],
    ["one that asks for others", among(agent({ asks: ["scan"] })), "NOT_ASKED_FOR", "gpu-1 could run it"],
    ["one that waits for it", among(agent({ asks: [] })), "ABOUT_TO_RUN", "gpu-1 waits"],
  ])("that is due, with %s", (_, candidates, code, words) => {
    const explanation = explainTask(task(), candidates, undefined);
    expect(codes(explanation)[0]).toBe(code);
    expect(explanation.summary).toContain(words);
  });

  test("names what each agent lacks", () => {
    const poor = agent({ name: "poor", status: "error", offer: { capabilities: [], labels: { zone: "b" } } });
    const { reasons } = explainTask(task({ ahead: 3 }), among(agent(), poor), undefined);
    expect(reasons.map(({ code }) => code)).toEqual([
      "NOT_ASKED_FOR",
      "OTHERS_FIRST",
      "NOT_ASKING",
      "AGENT_IN_ERROR",
    ]);
    expect(reasons[3]).toMatchObject({
      subject: `agent_${poor.id}`,
      message:
        "poor does not run it: it is in error, and gets nothing until it reports that it is well or is reset; " +
        "it lacks the capability cuda; its label zone is b and must be a.",
    });
  });

  test("that requires nothing says no more than that nobody is there", () => {
    const easy = { capabilities: [], labels: {} };
    const gone = { ...among(agent({ liveness: "offline" })), matching: 1 };
    expect(explainTask(task({ requirements: easy }), gone, undefined).summary).toBe(
      "It waits because no agent can take tasks now.",
    );
  });

  test("may still be run by an agent that is late", () => {
    const { summary, reasons } = explainTask(task(), among(agent({ liveness: "stale" })), undefined);
    expect(summary).toContain("gpu-1 could run it");
    expect(reasons.at(-1)?.message).toBe("gpu-1 could run it, but its heartbeat is overdue.");
  });

  test("that was tried before says how that ended", () => {
    const { reasons } = explainTask(
      task({ attempt: 2, error: "its agent was lost", ahead: 1 }),
      among(agent()),
      undefined,
    );
    expect(reasons.map(({ message }) => message).slice(1, 3)).toEqual([
      "Attempt 2 ended: its agent was lost.",
      "1 task of kind hash that waits for the same agents goes first, by priority and age.",
    ]);
  });

  test("that was cancelled without a reason says so once", () => {
    const cancelled = task({ state: "cancelled", error: "cancelled by an operator" });
    expect(explainTask(cancelled, among(), undefined).summary).toBe(
      "It was cancelled by an operator. A retry tries it anew.",
    );
  });

  test("that waits says until when and for what", () => {
    const until = "2030-01-01T00:00:00Z";
    expect(explainTask(task({ waitsUntil: until, error: "no luck" }), among(), undefined).summary).toBe(
      `It waits until ${until} for retry 1 of 3: no luck.`,
    );
    expect(codes(explainTask(task({ waitsUntil: until, waitsByWish: true }), among(), undefined))).toEqual([
      "NOT_BEFORE",
    ]);
  });

  test("that is lent names its agent, and what is wrong with that", () => {
    const lent = task({ state: "running", remainingMs: 41_200, agentName: "gpu-1" });
    const holder = (more: Partial<AgentFacts> = {}, brake?: string) => ({ ...agent(more), brake });
    expect(explainTask(lent, among(), holder()).summary).toBe(
      "gpu-1 works on it: attempt 1, 41 s of its lease are left.",
    );
    const gone = explainTask(lent, among(), holder({ liveness: "offline" }));
    expect(codes(gone)).toEqual(["RUNNING", "AGENT_OFFLINE"]);
    expect(gone.reasons[1]?.message).toContain("the task returns at the end of its lease");
    for (const liveness of ["offline", "stale"] as const) {
      const { reasons } = explainTask(lent, among(), holder({ liveness }, "nothing goes back for now"));
      expect(reasons[1]?.message).toMatch(/; nothing goes back for now\.$/);
    }
  });

  test.each(["succeeded", "failed", "cancelled", "quarantined"] as const)("that is %s says so", (state) => {
    const { summary, reasons } = explainTask(task({ state, error: "because." }), among(), undefined);
    expect(reasons).toMatchObject([{ code: state.toUpperCase(), message: summary }]);
    if (state !== "succeeded") expect(summary).toContain("because.");
  });
});

describe("an agent", () => {
  const explained = (more: Partial<ExplainedAgent> = {}): ExplainedAgent => ({
    ...agent(more),
    flapping: false,
    hearing: null,
    brake: undefined,
    ...more,
    lastSeen: "2030-01-01T00:00:00.000Z",
    statusSince: "2030-01-01T00:00:00.000Z",
    newestError: "the disk is gone",
  });
  const nothing = { all: [], asked: [] };
  const easy = { capabilities: [], labels: {} };
  const hard = { capabilities: ["rare"], labels: {} };

  test.each([
    ["in error", { status: "error" }, nothing, ["AGENT_IN_ERROR"], "the disk is gone"],
    ["offline", { liveness: "offline" }, { all: [easy], asked: [] }, ["AGENT_OFFLINE"], "last heard"],
    ["never heard", { liveness: "never", status: "pending" }, nothing, ["AGENT_NEVER_HEARD"], "enrolled"],
    ["without tasks", {}, nothing, ["NO_TASKS"], "no task is due"],
    [
      "without fitting tasks",
      {},
      { all: [hard], asked: [] },
      ["MATCHES_NO_TASK"],
      "it lacks the capability rare",
    ],
    ["that does not ask", {}, { all: [hard, easy], asked: [] }, ["NOT_ASKING"], "not asking"],
    [
      "that asks for others",
      { asks: ["scan", "sum"] },
      { all: [easy], asked: [hard] },
      ["ASKS_FOR_OTHER_KINDS"],
      "waits for tasks of the kinds scan, sum; those that are due and that it could run are of other kinds.",
    ],
    ["lost again and again", { flapping: true }, nothing, ["AGENT_FLAPPING", "NO_TASKS"], "flapping"],
    [
      "lost with all the others",
      { liveness: "offline", held: 1, brake: "stopped" },
      nothing,
      ["AGENT_OFFLINE", "BRAKE_ENGAGED"],
      "offline",
    ],
    ["of a braked project, and well", { held: 1, brake: "slow" }, nothing, ["NO_TASKS"], "no task is due"],
    ["about to work", { asks: [] }, { all: [easy], asked: [easy] }, ["ABOUT_TO_WORK"], "is about to"],
  ] as const)("%s says so", (_, more, due, expected, words) => {
    const explanation = explainAgent(explained(more), [], due);
    expect(codes(explanation)).toEqual(expected);
    expect(explanation.summary).toContain(words);
  });

  test("at work names its tasks", () => {
    const held = [
      { taskId: "01920000-0000-7000-8000-000000000002", kind: "hash", state: "running" as const },
    ];
    const explanation = explainAgent(explained({ held: 1 }), held, nothing);
    expect(explanation.summary).toBe("gpu-1 is at work: it holds 1 task.");
    expect(explanation.reasons).toMatchObject([
      { code: "HOLDS_TASK", subject: "task_01920000-0000-7000-8000-000000000002" },
    ]);
  });
});
