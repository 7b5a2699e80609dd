import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { locatePostgres } from "../../src/storage/postgres-location.ts";
import { readPostmasterPid } from "../../src/storage/postmaster-pid.ts";
import { codeOf } from "../helpers/code-of.ts";
import { connectFleet, DOORS, type EnrolledAgent, enrollAgents, type Fleet } from "../helpers/fleet-api.ts";
import { type ServerProcess, startServer } from "../helpers/server-process.ts";
import { waitFor } from "../helpers/wait-for.ts";

const HEARTBEATS = 40;
const RETRY_MS = 20;

let dataDir: string;
let server: ServerProcess;
let fleet: Fleet;
beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "drover-embedded-"));
  server = await startServer({ dataDir });
  fleet = connectFleet(server);
});
afterAll(async () => {
  fleet.close();
  await server.stop();
  await rm(dataDir, { recursive: true, force: true });
});

async function postmasterPid(): Promise<number> {
  const quiet = { info() {}, warn() {}, error() {} };
  const { dataFolder } = await locatePostgres(dataDir, quiet);
  return (await readPostmasterPid(dataFolder))?.pid ?? 0;
}

/** Sends each heartbeat until it is acknowledged; counts how often that took another try, and keeps other refusals. */
async function beatThroughout(
  agent: EnrolledAgent,
  number: number,
  seen: { retries: number; refusals: string[] },
) {
  const api = fleet.agent(agent.token, DOORS[number % DOORS.length] ?? "grpc");
  for (let sequence = 1; sequence <= HEARTBEATS; sequence++) {
    const beat = {
      status: AgentStatus.BUSY,
      session: { bootId: "boot", sequence: BigInt(sequence) },
      error: { severity: Severity.WARNING, message: `${agent.name} at ${sequence}` },
    };
    for (;;) {
      const code = await codeOf(api.heartbeat(beat));
      if (code === "ok") break;
      if (code !== "Unavailable") seen.refusals.push(code);
      seen.retries += 1;
      if (!server.running()) throw new Error(`the server ended:\n${server.output()}`);
      await pause(RETRY_MS);
    }
  }
}

test("PostgreSQL killed under load and started again: the process lives, and every heartbeat has one effect", async () => {
  const operator = fleet.operator(server.operatorToken ?? "");
  const agents = await enrollAgents(fleet, operator, 8);
  const seen = { retries: 0, refusals: [] as string[] };
  const loads = Promise.all(agents.map((agent, number) => beatThroughout(agent, number, seen)));
  const first = await postmasterPid();
  const countErrors = async () => {
    const { agents: shown } = await operator.fleet.listAgents({});
    return shown.reduce((sum, { recentErrors }) => sum + Number(recentErrors?.count ?? 0n), 0);
  };
  await waitFor(async () => (await countErrors()) > HEARTBEATS, { what: "some heartbeats" });
  process.kill(first, "SIGKILL");
  await loads;
  expect(await postmasterPid()).not.toBe(first);
  expect(seen.retries).toBeGreaterThan(0);
  expect(seen.refusals).toEqual([]);
  expect(server.running()).toBe(true);

  for (const agent of agents) {
    const { errors } = await operator.fleet.listErrors({ agent: agent.name, pageSize: 1000 });
    const messages = errors.map(({ message }) => message).sort();
    const expected = Array.from({ length: HEARTBEATS }, (_, index) => `${agent.name} at ${index + 1}`).sort();
    expect(messages).toEqual(expected);
  }
});
