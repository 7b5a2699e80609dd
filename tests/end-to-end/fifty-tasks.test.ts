import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Liveness } from "../../gen/drover/v1/agent_pb.js";
import { type Stage, setStage } from "../helpers/stage.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { type AgentProcess, runAgent } from "./agent-process.ts";
import { overlappingLeases, recordLeases } from "./lease-history.ts";
import { restOf } from "./rest.ts";

const TASKS = 50;
const SLOTS = 2;

const FIRST_PERMITS = 3;

// Each command uses up a file of its agent's folder of permits, so that the test says how far each agent gets. The
// payload is a path as JSON, whose quotes are those of xargs too.
const hashFile =
  'hash=until rm "permits/$(ls permits | head -n 1)" 2>/dev/null; do sleep 0.05; done; xargs sha256sum';

let stage: Stage;
const agents: AgentProcess[] = [];

beforeAll(async () => {
  stage = await setStage({
    env: {
      DROVER_HEARTBEAT_INTERVAL: "1s",
      DROVER_STALE_AFTER: "2",
      DROVER_OFFLINE_AFTER: "3",
      DROVER_OFFLINE_GRACE: "1s",
      // Longer than it takes to be offline, so that a server which did not wait for its end would be found out.
      DROVER_LEASE: "6s",
    },
  });
});
afterAll(async () => {
  await Promise.all(agents.map((agent) => agent.killGroup()));
  await stage?.close();
});

test("two agents share fifty tasks; one is killed in the middle, and the other takes over", {
  timeout: 60_000,
}, async () => {
  await recordLeases(stage.sql);
  const rest = restOf(stage.server, stage.operatorToken);
  const doomed = await startLiveAgent("doomed");
  const survivor = await startLiveAgent("survivor");
  const files = await realFiles(TASKS);
  const ids: string[] = [];
  for (const file of files)
    ids.push((await rest("POST", "/api/v1/tasks", { kind: "hash", payload: file })).id);

  // Each has done some of them and stands still with others, so that one is killed while it surely works.
  for (const { name } of agents)
    await waitFor(
      async () => {
        const attempts = await attemptsOf(name);
        return attempts.filter(isDone).length === FIRST_PERMITS && attempts.length === FIRST_PERMITS + SLOTS;
      },
      { what: `work by ${name}`, timeoutMs: 20_000 },
    );
  const held = (await attemptsOf("doomed")).filter((attempt) => !isDone(attempt));
  await doomed.killGroup();
  await permit(survivor.folder, TASKS);

  const all = () => Promise.all(ids.map((id) => rest("GET", `/api/v1/tasks/${id}`)));
  const tasks = await waitFor(
    async () => {
      const shown = await all();
      return shown.every(({ state }) => state === "succeeded") && shown;
    },
    { what: "the success of all tasks", timeoutMs: 30_000, everyMs: 100 },
  );
  expect(tasks.map(({ result }) => result)).toEqual(await Promise.all(files.map(sha256sumLine)));

  for (const { taskId } of held) {
    const task = tasks.find(({ id }) => id === `task_${taskId}`);
    expect(task).toMatchObject({ agent: "survivor", attempt: 2, losses: 1, retries: 0 });
  }
  expect(await overlappingLeases(stage.sql)).toEqual([]);

  const { entries } = await rest("GET", "/api/v1/audit?subject=doomed&action=agent.liveness_changed");
  expect(entries.map(({ from, to }: { from: string; to: string }) => `${from} → ${to}`)).toEqual([
    "live → offline",
    "never → live",
  ]);
  expect(await survivor.stop()).toBe(0);
});

async function startLiveAgent(name: string): Promise<AgentProcess> {
  const agent = await runAgent(stage, name, ["--on", hashFile, "--slots", String(SLOTS)]);
  agents.push(agent);
  await permit(agent.folder, FIRST_PERMITS);
  const isLive = async () => (await stage.operator.fleet.getAgent({ agent: name })).agent?.liveness;
  await waitFor(async () => (await isLive()) === Liveness.LIVE, { what: `the first heartbeat of ${name}` });
  return agent;
}

interface Attempt {
  taskId: string;
  outcome: string | null;
}

async function attemptsOf(agent: string): Promise<Attempt[]> {
  return await stage.sql<Attempt[]>`
    SELECT t.task_id AS "taskId", t.outcome
    FROM task_attempts t JOIN agents a ON a.project_id = t.project_id AND a.id = t.agent_id
    WHERE a.name = ${agent}`;
}

const isDone = ({ outcome }: Attempt) => outcome === "succeeded";

/** Lets an agent's commands do so many tasks more. */
async function permit(folder: string, count: number): Promise<void> {
  const permits = join(folder, "permits");
  await mkdir(permits, { recursive: true });
  for (let index = 0; index < count; index++) await writeFile(join(permits, String(index)), "");
}

/** Paths of source files of this repository. */
async function realFiles(count: number): Promise<string[]> {
  const folder = fileURLToPath(new URL("../../src", import.meta.url));
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  expect(files.length).toBeGreaterThanOrEqual(count);
  return files.slice(0, count);
}

/** What sha256sum prints. */
async function sha256sumLine(file: string): Promise<string> {
  return `${createHash("sha256")
    .update(await readFile(file))
    .digest("hex")}  ${file}\n`;
}
