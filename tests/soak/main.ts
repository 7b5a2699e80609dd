/** `npm run soak [-- --minutes N --seed N --servers N --agents N]`: ten minutes of faults, unless told otherwise. */
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { runSoak } from "./soak.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "10" },
    seed: { type: "string", default: String(randomInt(2 ** 31)) },
    servers: { type: "string", default: "3" },
    agents: { type: "string", default: "4" },
  },
});

function numberOf(name: keyof typeof values, least: number): number {
  const value = Number(values[name]);
  if (Number.isFinite(value) && value >= least) return value;
  console.error(`--${name} has to be a number of at least ${least}.`);
  process.exit(2);
}

const minutes = numberOf("minutes", 0);
const seed = Math.floor(numberOf("seed", 0));
const servers = Math.floor(numberOf("servers", 1));
const agents = Math.floor(numberOf("agents", 3));
console.log(`seed ${seed}`);
let untilMs: number | undefined;
const { problems, ...report } = await runSoak({
  seed,
  servers,
  agents,
  goesOn() {
    // Counted from when everything runs.
    untilMs ??= performance.now() + minutes * 60_000;
    return performance.now() < untilMs;
  },
  log: (line) => console.log(`${Math.round(performance.now() / 100) / 10} s: ${line}`),
});
console.log(report);
for (const problem of problems) console.error(problem);
console.log(problems.length === 0 ? "nothing broke" : `${problems.length} things broke`);
process.exitCode = problems.length === 0 ? 0 : 1;
