import { type Database, openDatabase } from "../../src/storage/database.ts";
import type { Benchmark, Measurement } from "./bench.ts";
import { type BenchDatabase, type Running, startDatabase, startDrover } from "./heartbeats/servers.ts";
import { type Figure, percentile, summarise } from "./statistics.ts";
import { Contender, type Setting } from "./tasks/contender.ts";
import type { Opening } from "./tasks/drover-agents.ts";
import { addFinished, addPending, enrollIdle, forgetTasks, makeOperator, tidy } from "./tasks/task-table.ts";

const quick = process.env.BENCH_QUICK !== undefined;
const RUNS = quick ? 1 : 5;
const RUN_MS = quick ? 800 : 1_200;
const FIRST_TRY = 1_500;
const AWAITED = quick ? 20 : 40;
const FINISHED = quick ? 50_000 : 1_000_000;
const PENDING = 1_000;
/** So often a thousand pending tasks are drained for one figure. */
const DRAINS = 2;
const AGENTS = 400;

const DROVER = "Drover";
const GRAPHILE = "graphile-worker";
const BOSS = "pg-boss";

type Log = (line: string) => void;
type Figures = Record<string, Figure>;

/** One side of the contest. */
interface Side {
  readonly name: string;
  readonly settings: readonly Setting[];
  readonly contender: Pick<Contender<never>, "drain" | "await">;
  /** Clears away what earlier runs left in its tables: the bench makes in seconds what autovacuum sees to by the minute. */
  tidy(): Promise<void>;
}

/**
 * What taking and ending tasks costs, and how soon a created one is at work, against rivals on the same PostgreSQL.
 */
export const tasksBenchmark: Benchmark = {
  name: "tasks",
  what: "claim and complete, and created to running, on the embedded database, against rivals in the same run",
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
  const drover = await openDrover(database, ends);
  const sides = [
    drover,
    await openRival(GRAPHILE, "graphile-worker.ts", database, ends),
    await openRival(BOSS, "pg-boss.ts", database, ends),
  ];
  const notes = [
    "An agent of Drover completes each task by a message of its stream, answered after the commit; batch is what one claim takes.",
    "Drover writes attempts and events beside the tasks, and keeps what is done, as pg-boss does; graphile-worker deletes it.",
    "graphile-worker: batch is its local queue, with completions gathered; pg-boss: batch is what one fetch and one complete take.",
    "Created to running is seen by the worker's process: from before creation was asked for until the work may begin.",
    `Durability: ${await durabilityOf(database.database)}, for all three.`,
  ];
  const figures: Figures = {};
  Object.assign(figures, await compete(sides, log, notes));
  Object.assign(figures, await awaitAll(sides, log));
  Object.assign(figures, await measureTables(database.database, drover, log));
  return { figures, goals: goals(), notes };
}

async function openDrover(database: BenchDatabase, ends: Running[]): Promise<Side> {
  const server = await startDrover(database.url);
  ends.push(server);
  const contender = await Contender.open<Opening>("drover-agents.ts", {
    address: server.grpcAddress,
    tokens: await enrollIdle(database.database, AGENTS),
    operator: await makeOperator(database.database),
    connections: 8,
  });
  ends.push({ stop: () => contender.close() });
  return {
    name: DROVER,
    settings: [
      { concurrency: 100, batch: 1 },
      { concurrency: 64, batch: 20 },
      { concurrency: 200, batch: 20 },
      { concurrency: 200, batch: 50 },
      { concurrency: AGENTS, batch: 50 },
    ],
    contender: {
      async drain(setting, tasks) {
        await addPending(database.database, tasks);
        return await contender.drain(setting, tasks);
      },
      await: (tasks) => contender.await(tasks),
    },
    tidy: () => vacuum(database.url),
  };
}

async function openRival(
  name: string,
  script: string,
  { database, url }: BenchDatabase,
  ends: Running[],
): Promise<Side> {
  const own = name.replace("-", "_");
  await database.sql([`CREATE DATABASE ${own}`] as unknown as TemplateStringsArray);
  const address = new URL(url);
  address.pathname = `/${own}`;
  const contender = await Contender.open(script, { url: address.href });
  ends.push({ stop: () => contender.close() });
  const settings = [
    { concurrency: 16, batch: 1 },
    { concurrency: 4, batch: 100 },
    { concurrency: 4, batch: 500 },
    { concurrency: 24, batch: 500 },
  ];
  return { name, settings, contender, tidy: () => vacuum(address.href) };
}

async function vacuum(url: string): Promise<void> {
  const { sql, close } = openDatabase({ url, applicationName: "bench", maxConnections: 1 });
  await sql`VACUUM`;
  await close();
}

async function durabilityOf({ sql }: Database): Promise<string> {
  const [row] = await sql<{ fsync: string; commit: string }>`
    SELECT current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS commit`;
  if (row?.fsync !== "on" || row.commit !== "on") throw new Error("the database is not durable");
  return `fsync ${row.fsync}, synchronous_commit ${row.commit}`;
}

interface Tried {
  side: Side;
  setting: Setting;
  perSecond: number;
}

/** Finds the best settings of each, also of those that take one task at a time, then lets them run in turn. */
async function compete(sides: readonly Side[], log: Log, notes: string[]): Promise<Figures> {
  const tried: Tried[] = [];
  for (const side of sides) {
    for (const setting of side.settings) {
      const perSecond = await attempt(side, setting);
      log(`try: ${side.name}, ${describe(setting)}: ${Math.round(perSecond)}/s`);
      tried.push({ side, setting, perSecond });
    }
  }
  const best = (side: Side, among: readonly Tried[]) => {
    const [first] = among.filter((one) => one.side === side).toSorted((a, b) => b.perSecond - a.perSecond);
    if (first === undefined) throw new Error(`${side.name} was not tried`);
    return first;
  };
  const ones = tried.filter(({ setting }) => setting.batch === 1);
  const races = [
    ...sides.map((side) => ({ ...best(side, tried), name: throughputOf(side.name) })),
    ...sides.map((side) => ({ ...best(side, ones), name: oneByOneOf(side.name) })),
  ];
  const figures: Figures = {};
  for (const { name } of races) figures[name] = { unit: "/s", runs: [] };
  for (const { name } of sides) figures[costOf(name)] = { unit: "µs", runs: [] };
  for (let run = 1; run <= RUNS; run += 1) {
    for (const { name, side, setting, perSecond } of races) {
      await side.tidy();
      const drained = await side.contender.drain(setting, Math.round((perSecond * RUN_MS) / 1000));
      figures[name]?.runs.push(drained.perSecond);
      if (name === throughputOf(side.name)) figures[costOf(side.name)]?.runs.push(drained.processUs);
      log(`run ${run} of ${RUNS}: ${name}, ${describe(setting)}: ${Math.round(drained.perSecond)}/s`);
    }
  }
  for (const { name, setting } of races) notes.push(`${name}: best with ${describe(setting)}.`);
  return figures;
}

/** What is over in a moment is tried once more at length: some are fast only at first. */
async function attempt({ contender, tidy }: Side, setting: Setting): Promise<number> {
  await tidy();
  const { perSecond } = await contender.drain(setting, FIRST_TRY);
  const atLength = Math.round((perSecond * RUN_MS) / 1000);
  return atLength < 2 * FIRST_TRY ? perSecond : (await contender.drain(setting, atLength)).perSecond;
}

async function awaitAll(sides: readonly Side[], log: Log): Promise<Figures> {
  const figures: Figures = {};
  for (const { name } of sides) {
    figures[latencyOf(name, 50)] = { unit: "ms", runs: [] };
    figures[latencyOf(name, 99)] = { unit: "ms", runs: [] };
  }
  for (let run = 1; run <= RUNS; run += 1) {
    for (const { name, contender } of sides) {
      const latencies = await contender.await(AWAITED);
      const [p50, p99] = [percentile(latencies, 0.5), percentile(latencies, 0.99)];
      figures[latencyOf(name, 50)]?.runs.push(p50);
      figures[latencyOf(name, 99)]?.runs.push(p99);
      log(
        `run ${run} of ${RUNS}: ${name}, created to running: p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`,
      );
    }
  }
  return figures;
}

/** A thousand pending tasks, with nothing beside them and with a million that ended. */
async function measureTables(database: Database, { contender }: Side, log: Log): Promise<Figures> {
  const figures: Figures = {};
  const setting = { concurrency: 16, batch: 50 };
  for (const size of [0, FINISHED]) {
    await forgetTasks(database);
    if (size > 0) await addFinished(database, size);
    await contender.drain(setting, PENDING);
    const runs: number[] = [];
    for (let run = 1; run <= RUNS; run += 1) {
      const rates: number[] = [];
      for (let drain = 1; drain <= DRAINS; drain += 1)
        rates.push((await contender.drain(setting, PENDING)).perSecond);
      runs.push(summarise(rates).median);
      await tidy(database);
    }
    figures[tableOf(size)] = { unit: "/s", runs };
    log(`beside ${size} finished tasks: ${Math.round(summarise(runs).median)}/s`);
  }
  return figures;
}

const describe = ({ concurrency, batch }: Setting) => `${concurrency} at once by ${batch}`;
const throughputOf = (name: string) => `${name}, claim and complete`;
const oneByOneOf = (name: string) => `${name}, claimed and completed one by one`;
const costOf = (name: string) => `${name}, the workers' process for each`;
const latencyOf = (name: string, percent: number) => `${name}, created to running, p${percent}`;
const tableOf = (size: number) => `Drover, beside ${size.toLocaleString("en")} finished tasks`;

function goals(): Measurement["goals"] {
  return [
    {
      words: "claim and complete at least twice as fast as the better rival",
      met: (medians) => {
        const rivals = [GRAPHILE, BOSS].map((name) => medians[throughputOf(name)] ?? Infinity);
        return (medians[throughputOf(DROVER)] ?? 0) >= 2 * Math.max(...rivals);
      },
    },
    {
      words: "created to running, p50, no later than with the better rival",
      met: (medians) => {
        const rivals = [GRAPHILE, BOSS].map((name) => medians[latencyOf(name, 50)] ?? 0);
        return (medians[latencyOf(DROVER, 50)] ?? Infinity) <= Math.min(...rivals);
      },
    },
    {
      words: `claim and complete beside ${FINISHED.toLocaleString("en")} finished tasks flat within 20 %`,
      met: (medians) => (medians[tableOf(FINISHED)] ?? 0) >= 0.8 * (medians[tableOf(0)] ?? Infinity),
    },
  ];
}
