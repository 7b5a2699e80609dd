import { plantBug } from "../guarantees/planted-bugs/plant.ts";
import type { Benchmark, Measurement } from "./bench.ts";
import { type BusyAgent, enrollBusy, fillTable } from "./heartbeats/fleet.ts";
import { Load, type Sent, type Target } from "./heartbeats/load.ts";
import { measureMemory } from "./heartbeats/memory.ts";
import {
  DROVER,
  ETCD,
  FASTIFY,
  type Figures,
  goalsOf,
  HALF_LOAD,
  NOTES,
  ONE_BY_ONE,
  REST,
  TABLES,
  tableFigure,
  tableOf,
  UNARY,
} from "./heartbeats/report.ts";
import {
  type BenchDatabase,
  type BenchServer,
  isInstalled,
  type Running,
  startDatabase,
  startDrover,
  startEtcd,
  startScript,
} from "./heartbeats/servers.ts";
import { type Figure, summarise } from "./statistics.ts";

const RUNS = 5;
const RUN_MS = 2_000;
const TRY_MS = 700;
const STREAMS = 2_000;
const CALLERS = 512;

type Log = (line: string) => void;

/** A rival, or Drover itself, ready to be sent to. */
interface Contender {
  readonly name: string;
  readonly load: Load;
  /** How many senders it is tried with; the best of them is kept. */
  readonly senders: readonly number[];
}

/**
 * What heartbeats cost, against rivals in the same run. The load comes from processes of their own; server, database
 * and load share the machine's processors.
 */
export const heartbeatsBenchmark: Benchmark = {
  name: "heartbeats",
  what: "durable heartbeats with a task at hand, on the embedded database, against rivals in the same run",
  async run(log) {
    const ends: Running[] = [];
    try {
      return await measure(log, ends);
    } finally {
      for (const end of ends.reverse()) await end.stop();
    }
  },
};

async function measure(log: Log, ends: Running[]): Promise<Measurement> {
  const database = await startDatabase();
  ends.push(database);
  await fillTable(database.database, TABLES[0]);
  const figures: Figures = {};
  const notes = [...NOTES];
  const server = await started(ends, startDrover(database.url));
  const agents = await enrollBusy(database.database, STREAMS);
  const streams = await streamContenders({ database, server, agents, ends, notes });
  Object.assign(figures, await compete(streams, log));
  await closeAll(streams);
  Object.assign(figures, await measureHalfLoad(server, agents, figures, log));
  const unary = await unaryContenders({ database, server, agents: agents.slice(0, CALLERS), ends });
  Object.assign(figures, await compete(unary, log));
  await closeAll(unary);
  Object.assign(figures, await measureTables(database, server, agents, log));
  Object.assign(figures, await measureMemory(database, ends, log));
  console.log(tableOf(figures));
  return { figures, goals: goalsOf(figures), notes };
}

async function started<T extends Running>(ends: Running[], starting: Promise<T>): Promise<T> {
  const running = await starting;
  ends.push(running);
  return running;
}

interface Stage {
  database: BenchDatabase;
  server: BenchServer;
  agents: BusyAgent[];
  ends: Running[];
}

async function streamContenders(stage: Stage & { notes: string[] }): Promise<Contender[]> {
  const { database, server, agents, ends, notes } = stage;
  const senders = [250, 500, 1_000, STREAMS];
  const session = (address: string, some: BusyAgent[]): Target => ({
    kind: "session",
    address,
    agents: some,
  });
  const contenders: Contender[] = [
    { name: DROVER, load: await opened(session(server.grpcAddress, agents)), senders },
  ];
  if (await isInstalled("etcd")) {
    const etcd = await started(ends, startEtcd());
    notes.push(`etcd ${etcd.version}.`);
    const target: Target = { kind: "keep-alive", address: etcd.address, leases: STREAMS };
    contenders.push({ name: ETCD, load: await opened(target), senders });
  } else notes.push("etcd is not installed (Debian: etcd-server): no figure of it.");
  // The same server but for two numbers: a batch of one, and as many at once as it has connections for.
  const checkout = await plantBug([
    { file: "heartbeat/heartbeat-writer.ts", find: /const BATCH = 500;/, replace: "const BATCH = 1;" },
    {
      file: "heartbeat/heartbeat-writer.ts",
      find: /const BATCHES_AT_ONCE = 2;/,
      replace: "const BATCHES_AT_ONCE = 10;",
    },
  ]);
  ends.push({ stop: checkout.remove });
  const single = await started(ends, startDrover(database.url, checkout.root));
  const others = await enrollBusy(database.database, 1_000);
  contenders.push({
    name: ONE_BY_ONE,
    load: await opened(session(single.grpcAddress, others)),
    senders: [50, 250, 1_000],
  });
  return contenders;
}

async function unaryContenders({ database, server, agents, ends }: Stage): Promise<Contender[]> {
  const senders = [32, 128, CALLERS];
  const rest = `${server.httpUrl}/api/v1/agent/heartbeat`;
  const rival = await started(ends, startScript("fastify-server.ts", [database.url, "10"]));
  const url = `http://127.0.0.1:${rival.port}/heartbeat`;
  return [
    { name: UNARY, load: await opened({ kind: "call", address: server.grpcAddress, agents }), senders },
    { name: REST, load: await opened({ kind: "json", url: rest, agents }), senders },
    { name: FASTIFY, load: await opened({ kind: "json", url, agents }), senders },
  ];
}

function opened(target: Target): Promise<Load> {
  return Load.open(target, 20);
}

async function closeAll(contenders: readonly Contender[]): Promise<void> {
  for (const { load } of contenders) await load.close();
}

/** Finds the best number of senders of each, then lets them run in turn. */
async function compete(contenders: readonly Contender[], log: Log): Promise<Figures> {
  const best = new Map<Contender, number>();
  for (const contender of contenders) {
    const tries: { senders: number; perSecond: number }[] = [];
    await contender.load.send(contender.senders[0] ?? 1, TRY_MS);
    for (const senders of contender.senders)
      tries.push({ senders, perSecond: (await contender.load.send(senders, TRY_MS)).perSecond });
    const [first] = tries.sort((a, b) => b.perSecond - a.perSecond);
    best.set(contender, first?.senders ?? 1);
  }
  const figures: Figures = Object.fromEntries(contenders.map(({ name }) => [name, { unit: "/s", runs: [] }]));
  for (let run = 1; run <= RUNS; run += 1) {
    for (const contender of contenders) {
      const { perSecond } = await contender.load.send(best.get(contender) ?? 1, RUN_MS);
      figures[contender.name]?.runs.push(perSecond);
      log(
        `run ${run} of ${RUNS}: ${contender.name}, ${best.get(contender)} at once: ${Math.round(perSecond)}/s`,
      );
    }
  }
  return figures;
}

async function measureHalfLoad(
  server: BenchServer,
  agents: BusyAgent[],
  figures: Figures,
  log: Log,
): Promise<Figures> {
  const perSecond = summarise(figures[DROVER]?.runs ?? [1]).median / 2;
  const load = await opened({ kind: "session", address: server.grpcAddress, agents });
  const [p50, p99]: [number[], number[]] = [[], []];
  await load.send(STREAMS, TRY_MS, perSecond);
  for (let run = 1; run <= RUNS; run += 1) {
    const sent: Sent = await load.send(STREAMS, RUN_MS, perSecond);
    p50.push(sent.p50Ms);
    p99.push(sent.p99Ms);
    log(
      `half load, ${Math.round(perSecond)}/s: p50 ${sent.p50Ms.toFixed(1)} ms, p99 ${sent.p99Ms.toFixed(1)} ms`,
    );
  }
  await load.close();
  return {
    "acknowledgement at half load, p50": { unit: "ms", runs: p50 },
    [HALF_LOAD]: { unit: "ms", runs: p99 },
  };
}

/** What one costs, by how many are taken a second, as the table grows around those that send. */
async function measureTables(
  { database }: BenchDatabase,
  server: BenchServer,
  agents: BusyAgent[],
  log: Log,
): Promise<Figures> {
  const figures: Figures = {};
  const load = await opened({ kind: "session", address: server.grpcAddress, agents: agents.slice(0, 1_000) });
  for (const size of TABLES) {
    await fillTable(database, size);
    await load.send(1_000, TRY_MS);
    const figure: Figure = { unit: "/s", runs: [] };
    for (let run = 1; run <= RUNS; run += 1) figure.runs.push((await load.send(1_000, RUN_MS)).perSecond);
    figures[tableFigure(size)] = figure;
    log(`${size} agents in the table: ${Math.round(summarise(figure.runs).median)}/s`);
  }
  await load.close();
  return figures;
}
