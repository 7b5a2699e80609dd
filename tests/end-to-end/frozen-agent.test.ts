import { access, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { enrollAgent } from "../helpers/fleet-api.ts";
import { type Stage, setStage } from "../helpers/stage.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { type AgentProcess, runAgent, startAgent } from "./agent-process.ts";
import { overlappingLeases, recordLeases } from "./lease-history.ts";
import { restOf } from "./rest.ts";

const stubbornAgent = fileURLToPath(new URL("stubborn-agent.ts", import.meta.url));

let stage: Stage;
const agents: AgentProcess[] = [];

beforeAll(async () => {
  stage = await setStage({
    env: {
      DROVER_HEARTBEAT_INTERVAL: "1s",
      DROVER_STALE_AFTER: "2",
      DROVER_OFFLINE_AFTER: "3",
      DROVER_OFFLINE_GRACE: "1s",
      DROVER_LEASE: "4s",
    },
  });
  await recordLeases(stage.sql);
});
afterEach(async () => {
  await Promise.all(agents.splice(0).map((agent) => agent.killGroup()));
});
afterAll(async () => {
  await stage?.close();
});

test("a thawed agent stops its work, and the result that it has all the same is refused and kept", {
  timeout: 60_000,
}, async () => {
  const frozen = await startAgent(stage, "frozen", () => [stubbornAgent, "frozen"]);
  agents.push(frozen);
  const task = await createTask("stubborn");
  await waitFor(() => frozen.events().some(({ saw }) => saw === "task"), { what: "the work" });

  frozen.signal("SIGSTOP");
  await doneByAnother("stubborn", task);
  expect(frozen.events()).toEqual([{ saw: "task" }]);
  frozen.signal("SIGCONT");

  await waitFor(() => frozen.events().length === 3, { what: "the refusal", timeoutMs: 20_000 });
  expect(frozen.events()).toEqual([
    { saw: "task" },
    { saw: "signal", reason: "lease-lost" },
    { saw: "refusal", reason: "LEASE_LOST" },
  ]);
  await expectStale(task, "frozen", "mine");
});

test("a command that ended while its agent was frozen is too late as well", { timeout: 60_000 }, async () => {
  const command = "command=touch begun; while [ ! -e go ]; do sleep 0.05; done; echo mine; touch done";
  const frozen = await runAgent(stage, "frozen-command", ["--json", "--on", command]);
  agents.push(frozen);
  const task = await createTask("command");
  // Not the agent's word that it begins: it is said before the command runs, and a frozen agent starts none.
  await waitFor(() => exists(join(frozen.folder, "begun")), { what: "the work" });

  frozen.signal("SIGSTOP");
  // Its commands are in groups of their own and go on.
  await writeFile(join(frozen.folder, "go"), "");
  await waitFor(() => exists(join(frozen.folder, "done")), { what: "the end of the command" });
  await doneByAnother("command", task);
  frozen.signal("SIGCONT");

  const refused = await waitFor(() => frozen.events().find(({ kind }) => kind === "taskRefused"), {
    what: "the refusal",
    timeoutMs: 20_000,
  });
  expect(refused).toMatchObject({ reason: "LEASE_LOST", task: { id: task, attempt: 1 } });
  await expectStale(task, "frozen-command", "mine\n");
});

async function createTask(kind: string): Promise<string> {
  return (await restOf(stage.server, stage.operatorToken)("POST", "/api/v1/tasks", { kind })).id;
}

/** Waits until another agent gets the task, and ends it as that agent. */
async function doneByAnother(kind: string, task: string): Promise<void> {
  const other = await enrollAgent(stage.fleet, stage.operator);
  const rest = restOf(stage.server, other.token);
  const { tasks } = await rest("POST", "/api/v1/agent/tasks:claim", { kinds: [kind], wait: "20s" });
  expect(tasks).toMatchObject([{ id: task, attempt: 2, lease: { epoch: "2" } }]);
  await rest("POST", `/api/v1/agent/tasks/${task}:complete`, { leaseEpoch: "2", result: "the other's" });
}

async function expectStale(task: string, agent: string, result: string): Promise<void> {
  const shown = await restOf(stage.server, stage.operatorToken)("GET", `/api/v1/tasks/${task}`);
  expect(shown).toMatchObject({
    state: "succeeded",
    result: "the other's",
    attempt: 2,
    losses: 1,
    staleResults: [{ agent, leaseEpoch: "1", kind: "complete", result }],
  });
  expect(await overlappingLeases(stage.sql)).toEqual([]);
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
