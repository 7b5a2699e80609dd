import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Measurement } from "../bench.ts";
import { enrollBusy } from "../heartbeats/fleet.ts";
import { type BenchDatabase, type BenchServer, startDatabase, startDrover } from "../heartbeats/servers.ts";
import { percentile } from "../statistics.ts";
import type { Order, Returned } from "./returning-agents.ts";

/** For a try on a busy machine fewer of either may be named; figures are those of 10,000 agents and five runs. */
const AGENTS = Number(process.env.BENCH_AGENTS ?? 10_000);
const RUNS = Number(process.env.BENCH_RUNS ?? 5);
const SERVERS = 3;
const CLIENTS = 2;
const STREAMS_PER_CONNECTION = 10;
const GOAL_S = 60;

const LAST = `${AGENTS.toLocaleString("en")} agents, the last one live again`;
const MIDDLE = `${AGENTS.toLocaleString("en")} agents, half of them live again`;
const BLAMED = "agents called offline, and tasks taken from them";

class Client {
  readonly #child: ChildProcess = fork(fileURLToPath(new URL("returning-agents.ts", import.meta.url)));

  async do(order: Order): Promise<Returned> {
    const answered = once(this.#child, "message");
    this.#child.send(order);
    const ended = once(this.#child, "exit").then(([code]) => {
      throw new Error(`a process of agents ended with ${code}`);
    });
    ended.catch(() => {});
    const [answer] = await Promise.race([answered, ended]);
    return answer;
  }

  async close(): Promise<void> {
    const exited = once(this.#child, "exit");
    this.#child.disconnect();
    await exited;
  }
}

/** How long agents take to be live again when the server that holds all of them dies. */
export async function measureReconnect(log: (line: string) => void): Promise<Measurement> {
  const database = await startDatabase();
  const servers: BenchServer[] = [];
  const clients: Client[] = [];
  try {
    for (let number = 0; number < SERVERS; number += 1) servers.push(await startBeside(database));
    const agents = await enrollBusy(database.database, AGENTS);
    for (let number = 0; number < CLIENTS; number += 1) {
      const client = new Client();
      clients.push(client);
      const own = agents.filter((_, place) => place % CLIENTS === number);
      await client.do({ do: "know", agents: own, streamsPerConnection: STREAMS_PER_CONNECTION });
    }
    return await measure(database, servers, clients, log);
  } finally {
    for (const client of clients) await client.close();
    for (const server of servers) await server.stop();
    await database.stop();
  }
}

// All clients come from one address here, as they never do elsewhere.
const startBeside = ({ url }: BenchDatabase) =>
  startDrover(url, undefined, {
    DROVER_MAX_CONNECTIONS_PER_ADDRESS: "20000",
    DROVER_MAX_UNPROVEN_CONNECTIONS: "20000",
  });

async function measure(
  database: BenchDatabase,
  servers: BenchServer[],
  clients: Client[],
  log: (line: string) => void,
): Promise<Measurement> {
  const figures: { last: number[]; middle: number[]; blamed: number[] } = {
    last: [],
    middle: [],
    blamed: [],
  };
  for (let run = 1; run <= RUNS; run += 1) {
    const dies = run % SERVERS;
    const addresses = servers.map(({ grpcAddress }) => grpcAddress);
    await Promise.all(clients.map((client) => client.do({ do: "gather", addresses, at: dies })));
    const before = await readHarm(database);
    const returned = Promise.all(clients.map((client) => client.do({ do: "return", from: dies })));
    const diedAtMs = Date.now();
    await servers[dies]?.kill();
    const times = (await returned).flatMap((each) => each.times.map((at) => (at - diedAtMs) / 1000));
    figures.last.push(Math.max(...times));
    figures.middle.push(percentile(times, 0.5));
    const after = await readHarm(database);
    figures.blamed.push(after.lost - before.lost + after.taken - before.taken + after.silent);
    log(
      `run ${run} of ${RUNS}: half of ${AGENTS} live again after ${figures.middle.at(-1)?.toFixed(1)} s, ` +
        `all after ${figures.last.at(-1)?.toFixed(1)} s, ${figures.blamed.at(-1)} blamed`,
    );
    servers[dies] = await startBeside(database);
  }
  return {
    figures: {
      [MIDDLE]: { unit: "s", runs: figures.middle },
      [LAST]: { unit: "s", runs: figures.last },
      [BLAMED]: { unit: "", runs: figures.blamed },
    },
    goals: [
      {
        words: `all live again at most ${GOAL_S} s after the death of their server`,
        met: (medians) => (medians[LAST] ?? Infinity) <= GOAL_S,
      },
      { words: "none called offline", met: () => figures.blamed.every((count) => count === 0) },
    ],
    notes: [
      `Reconnect: ${SERVERS} servers on one database, the one that holds all agents is killed; ${STREAMS_PER_CONNECTION} agents share a connection, and a server's own rush of agents is met by ${SERVERS - 1} servers on the same machine as the clients.`,
    ],
  };
}

interface Harm {
  /** How often agents were called offline so far. */
  lost: number;
  /** Tasks that are not with their agents any more. */
  taken: number;
  /** Agents that are not live now. */
  silent: number;
}

/** Agents whose turn to gather comes late may be lost before there is anything to measure. */
async function readHarm({ database }: BenchDatabase): Promise<Harm> {
  const [row] = await database.sql<Harm>`
    SELECT (SELECT count(*) FROM audit_entries WHERE field = 'liveness' AND to_value = 'offline')::int AS lost,
      (SELECT count(*) FROM tasks WHERE state <> 'running')::int AS taken,
      (SELECT count(*) FROM agent_states WHERE liveness <> 'live')::int AS silent`;
  if (row === undefined) throw new Error("counts are one row");
  return row;
}
