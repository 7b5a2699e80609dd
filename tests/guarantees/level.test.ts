import { readdir, readFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { connectFleet, type EnrolledAgent, enrollAgents } from "../helpers/fleet-api.ts";
import { createGrpcJsTransport } from "../helpers/grpc-js-transport.ts";
import { type Stage, setStage } from "../helpers/stage.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { AgentLine } from "../sessions/agent-line.ts";

/** What a server holds of the machine and of the database. */
interface Level {
  descriptors: number;
  connections: number;
  memoryMiB: number;
}

const AGENTS = 20;

let stage: Stage;
let agents: EnrolledAgent[];
beforeAll(async () => {
  stage = await setStage();
  agents = await enrollAgents(stage.fleet, stage.operator, AGENTS);
});
afterAll(() => stage.close());

async function levelOf(): Promise<Level> {
  const { pid } = stage.server;
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  const [row] = await stage.sql<{ count: number }[]>`
    SELECT count(*)::int AS count FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = ${`drover ${pid}`}`;
  return {
    descriptors: (await readdir(`/proc/${pid}/fd`)).length,
    connections: row?.count ?? 0,
    memoryMiB: Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024,
  };
}

/** Streams, some of which are broken off, watches and bursts of calls, each agent by a connection of its own. */
async function burst(): Promise<void> {
  const ends = agents.map(async ({ token }, index) => {
    const fleet = connectFleet(stage.server);
    const transport = createGrpcJsTransport(stage.server.grpcTarget);
    const line = new AgentLine(transport, token);
    line.say({ case: "hello", value: { bootId: "boot" } });
    await line.hear();
    const api = fleet.agent(token, "grpc");
    await Promise.all(
      Array.from({ length: 10 }, () => api.heartbeat({ status: AgentStatus.ONLINE, gauges: { index } })),
    );
    await fleet.operator(stage.operatorToken).fleet.listAgents({});
    if (index % 2 === 0) line.cancel();
    else line.hangUp();
    transport.close();
    fleet.close();
  });
  await Promise.all(ends);
}

test.runIf(process.platform === "linux")(
  "memory, descriptors and connections come back to their level within a minute",
  async () => {
    // What is opened once and kept, such as the connections of a pool.
    await burst();
    await burst();
    const before = await waitFor(
      async () => {
        const level = await levelOf();
        return level.descriptors < 100 && level;
      },
      { what: "the level before", timeoutMs: 60_000, everyMs: 200 },
    );
    for (let time = 0; time < 5; time += 1) await burst();
    const comesBack = async () => {
      const level = await levelOf();
      return (
        level.descriptors <= before.descriptors + 5 &&
        level.connections <= before.connections + 3 &&
        level.memoryMiB <= before.memoryMiB * 1.3 + 40
      );
    };
    await waitFor(comesBack, {
      what: `the level of ${JSON.stringify(before)}`,
      timeoutMs: 60_000,
      everyMs: 200,
    });
    expect(before.connections).toBeGreaterThan(0);
  },
  150_000,
);
