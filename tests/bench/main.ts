/** `npm run bench -- NAME…`: runs benchmarks, prints a table of each and writes bench/results.json. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { cpus, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import type { Benchmark, Measurement } from "./bench.ts";
import { eventsBenchmark } from "./events.ts";
import { heartbeatsBenchmark } from "./heartbeats.ts";
import { livenessBenchmark } from "./liveness.ts";
import { startBenchmark } from "./start.ts";
import { type Summary, summarise } from "./statistics.ts";
import { tasksBenchmark } from "./tasks.ts";
import { transcodingBenchmark } from "./transcoding.ts";

const benchmarks: Benchmark[] = [
  eventsBenchmark,
  heartbeatsBenchmark,
  livenessBenchmark,
  startBenchmark,
  tasksBenchmark,
  transcodingBenchmark,
];
const folder = fileURLToPath(new URL("../../bench", import.meta.url));
const resultsFile = `${folder}/results.json`;

interface Result {
  measuredAt: string;
  machine: { processors: number; model: string; memoryGiB: number };
  node: string;
  figures: Record<string, Summary & { unit: string; runs: number[] }>;
  goals: { words: string; met: boolean }[];
  notes: string[];
}

function evaluate(measurement: Measurement): Result {
  const figures: Result["figures"] = {};
  for (const [name, figure] of Object.entries(measurement.figures))
    figures[name] = { ...summarise(figure.runs), ...figure };
  const medians = Object.fromEntries(Object.entries(figures).map(([name, { median }]) => [name, median]));
  const [processor] = cpus();
  return {
    measuredAt: new Date().toISOString(),
    machine: {
      processors: cpus().length,
      model: processor?.model ?? "unknown",
      memoryGiB: Math.round(totalmem() / 2 ** 30),
    },
    node: process.version,
    figures,
    goals: measurement.goals.map(({ words, met }) => ({ words, met: met(medians) })),
    notes: measurement.notes,
  };
}

function print(benchmark: Benchmark, result: Result): void {
  console.log(`\n${benchmark.name}: ${benchmark.what}`);
  const width = Math.max(...Object.keys(result.figures).map((name) => name.length));
  const number = (value: number) => value.toFixed(value < 100 ? 2 : 0).padStart(10);
  console.log(
    `${"".padEnd(width)} ${"minimum".padStart(10)} ${"median".padStart(10)} ${"maximum".padStart(10)}`,
  );
  for (const [name, { minimum, median, maximum, unit }] of Object.entries(result.figures)) {
    console.log(`${name.padEnd(width)} ${number(minimum)} ${number(median)} ${number(maximum)} ${unit}`);
  }
  for (const { words, met } of result.goals) console.log(`goal ${met ? "met" : "MISSED"}: ${words}`);
  for (const note of result.notes) console.log(`note: ${note}`);
}

async function readResults(): Promise<Record<string, Result>> {
  try {
    return JSON.parse(await readFile(resultsFile, "utf8")) as Record<string, Result>;
  } catch {
    return {};
  }
}

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !benchmarks.some((benchmark) => benchmark.name === name));
if (unknown.length > 0) {
  console.error(
    `No benchmark is named ${unknown.join(", ")}. There are: ${benchmarks.map(({ name }) => name).join(", ")}.`,
  );
  process.exit(2);
}
const results = await readResults();
for (const benchmark of benchmarks) {
  if (wanted.length > 0 && !wanted.includes(benchmark.name)) continue;
  const result = evaluate(await benchmark.run((line) => console.error(line)));
  print(benchmark, result);
  results[benchmark.name] = result;
}
await mkdir(folder, { recursive: true });
await writeFile(resultsFile, `${JSON.stringify(results, null, 2)}\n`);
