/** `npm run fuzz -- NAME… [--inputs N] [--seed N]`: a million inputs for each fuzzer, unless told otherwise. */
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { type Fuzzer, runFuzzer } from "./fuzz.ts";
import { createTranscodingFuzzer } from "./transcoding.ts";

const fuzzers: Record<string, () => Fuzzer> = { transcoding: createTranscodingFuzzer };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { inputs: { type: "string", default: "1000000" }, seed: { type: "string" } },
});
const seed = values.seed === undefined ? randomInt(2 ** 31) : Number(values.seed);
const names = positionals.length === 0 ? Object.keys(fuzzers) : positionals;
const unknown = names.filter((name) => fuzzers[name] === undefined);
if (unknown.length > 0) {
  console.error(`No fuzzer is named ${unknown.join(", ")}. There are: ${Object.keys(fuzzers).join(", ")}.`);
  process.exit(2);
}
console.log(`seed ${seed}`);
for (const name of names) {
  const fuzzer = fuzzers[name]?.();
  if (fuzzer !== undefined) await runFuzzer(fuzzer, Number(values.inputs), seed, console.log);
}
console.log("nothing broke");
