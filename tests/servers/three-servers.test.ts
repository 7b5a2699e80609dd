import { afterAll, beforeAll, expect, test } from "vitest";
import { overlappingLeases, recordLeases } from "../end-to-end/lease-history.ts";
import { followEvents } from "../events/watch-client.ts";
import { auditChainProblems } from "../guarantees/audit-chain.ts";
import { sweepingServer } from "../guarantees/check-thawed-leader.ts";
import { type DatabaseProxy, proxyDatabase } from "../helpers/database-proxy.ts";
import { type EnrolledAgent, enrollAgents } from "../helpers/fleet-api.ts";
import { type OwnPostgres, startOwnPostgres } from "../helpers/own-postgres.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { wrongWhenAgentsAreKilled } from "./check-agents-killed.ts";
import { type Cluster, startCluster } from "./cluster.ts";
import { beatOn, createTasksOn, workOn } from "./load.ts";
import type { Member } from "./member.ts";

const KIND = "hash";
/** In agents a second. */
const BRAKE_RATE = 1;
const slow = { timeoutMs: 60_000, everyMs: 50 };

let cluster: Cluster;
let postgres: OwnPostgres;
let proxy: DatabaseProxy;
let beating: EnrolledAgent[];
let beats: ReturnType<typeof beatOn>[];
let workers: Awaited<ReturnType<typeof workOn>>[];
let tasks: ReturnType<typeof createTasksOn>;
let watch: ReturnType<typeof followEvents>;
const loads: { stop(): Promise<void> }[] = [];

beforeAll(async () => {
  // An agent of a busy machine has long to be heard; the faults here last for less.
  const env = {
    DROVER_HEARTBEAT_INTERVAL: "1s",
    DROVER_OFFLINE_GRACE: "30s",
    DROVER_LEASE: "30s",
    DROVER_BRAKE_RATE: String(BRAKE_RATE),
  };
  postgres = await startOwnPostgres();
  const through = async (url: string, number: number) => {
    if (number < 2) return url;
    proxy = await proxyDatabase(url);
    return proxy.url;
  };
  cluster = await startCluster(3, env, { through, postgres });
  await recordLeases(cluster.sql);
}, 120_000);
afterAll(async () => {
  await Promise.all(loads.map((load) => load.stop()));
  await cluster.close();
  await proxy.close();
}, 120_000);

/** Agents that beat, agents that work, somebody who makes tasks, and a watch. */
async function beginLoad(): Promise<void> {
  const [first] = cluster.members;
  if (first === undefined) throw new Error("there are three");
  const agents = await enrollAgents(first.fleet, first.fleet.operator(cluster.operatorToken), 10);
  beating = agents.slice(0, 8);
  let turn = 0;
  watch = followEvents(() => {
    turn += 1;
    return (cluster.members[turn % 3] as Member).fleet.operator(cluster.operatorToken);
  }, {});
  await waitFor(() => turn > 0, slow);
  beats = beating.map((agent) => beatOn(cluster, agent));
  workers = await Promise.all(agents.slice(8).map((agent) => workOn(cluster, agent, KIND)));
  tasks = createTasksOn(cluster, KIND);
  loads.push(watch, ...beats, ...workers, tasks);
}

/** Everything goes on: beats are acknowledged, tasks are made and done. */
async function goesOn(): Promise<void> {
  const before = beats.map((each) => each.acknowledged());
  const done = workers.reduce((sum, worker) => sum + worker.done(), 0);
  const made = tasks.created.length;
  await waitFor(
    () =>
      beats.every((each, index) => each.acknowledged() > (before[index] ?? 0n) + 1n) &&
      workers.reduce((sum, worker) => sum + worker.done(), 0) > done + 1 &&
      tasks.created.length > made + 1,
    { ...slow, what: "progress of everybody" },
  );
}

const memberOf = (pid: number) => cluster.members.find(({ process }) => process.pid === pid);

async function leader(other?: number): Promise<Member> {
  return await waitFor(
    async () => {
      const pid = await sweepingServer(cluster);
      return pid !== undefined && pid !== other && memberOf(pid);
    },
    { ...slow, what: "a leader" },
  );
}

test("60 and then 100 % of a project's agents are killed, and return", async () => {
  expect(await wrongWhenAgentsAreKilled(cluster, BRAKE_RATE)).toEqual([]);
}, 180_000);

test("a rolling restart", async () => {
  await beginLoad();
  await goesOn();
  for (const member of cluster.members) {
    expect(await member.process.stop()).toBe(0);
    await member.start();
    await goesOn();
  }
}, 180_000);

test("the leader is killed", async () => {
  const member = await leader();
  const { pid } = member.process;
  await member.process.kill();
  await leader(pid);
  await goesOn();
  await member.start();
}, 120_000);

test("the leader is frozen past its term and thawed", async () => {
  const { process } = await leader();
  process.signal("SIGSTOP");
  await leader(process.pid);
  process.signal("SIGCONT");
  await goesOn();
}, 120_000);

test("PostgreSQL is stopped and started, and is killed", async () => {
  for (const signal of ["SIGINT", "SIGKILL"] as const) {
    await postgres.restart(signal);
    await goesOn();
  }
  expect(cluster.members.map(({ process }) => process.running())).toEqual([true, true, true]);
}, 120_000);

test("one server is cut off from the database, and comes back", async () => {
  await proxy.close();
  await goesOn();
  await proxy.open();
  await goesOn();
}, 120_000);

test("after all that nothing is lost, nobody was blamed, and watchers saw everything once", async () => {
  await tasks.stop();
  const left = async () => {
    const [row] = await cluster.sql<{ left: number }[]>`
      SELECT count(*)::int AS left FROM tasks WHERE state <> 'succeeded'`;
    return row?.left;
  };
  await waitFor(async () => (await left()) === 0, { ...slow, what: "the end of all tasks" });
  for (const load of beats) await load.stop();

  const [project] = await cluster.sql<{ id: string }[]>`SELECT id FROM projects WHERE name = 'default'`;
  const rows = await cluster.sql<{ id: string }[]>`SELECT id FROM tasks`;
  const ids = rows.map(({ id }) => `task_${id}`);
  expect(ids).toEqual(expect.arrayContaining(tasks.created));
  expect(new Set(tasks.created).size).toBe(tasks.created.length);
  expect(await overlappingLeases(cluster.sql)).toEqual([]);

  for (const [index, { uuid }] of beating.entries()) {
    const [state] = await cluster.sql<{ sequence: string; epoch: string }[]>`
      SELECT sequence, epoch FROM agent_states WHERE agent_id = ${uuid}`;
    expect(state?.epoch).toBe("1");
    expect(BigInt(state?.sequence ?? -1)).toBeGreaterThanOrEqual(beats[index]?.acknowledged() ?? 0n);
  }
  const blamed = await cluster.sql`
    SELECT subject, reason FROM audit_entries WHERE to_value = 'offline' AND project_id = ${project?.id ?? ""}`;
  expect(blamed).toEqual([]);
  expect(await auditChainProblems(cluster.sql)).toEqual([]);

  for (const worker of workers) await worker.stop();
  const told = async () =>
    await cluster.sql<{ seq: string | null; type: string; subject: string }[]>`
      SELECT seq, type, subject FROM events WHERE project_id = ${project?.id ?? ""} ORDER BY seq`;
  await waitFor(
    async () => {
      const all = await told();
      return all.every(({ seq }) => seq !== null) && watch.events.at(-1)?.subject === all.at(-1)?.subject;
    },
    { ...slow, what: "the last event" },
  );
  const seen = watch.events.map(({ type, subject, cursor }) => ({
    type,
    subject,
    seq: cursor.split(".")[1],
  }));
  const all = (await told()).map(({ seq, type, subject }) => ({ type, subject, seq: String(seq) }));
  const from = all.findIndex(({ seq }) => seq === seen[0]?.seq);
  expect(seen).toEqual(all.slice(from));
  // The cases above are no cases unless there was something to lose.
  expect(seen.length).toBeGreaterThan(100);
}, 180_000);
