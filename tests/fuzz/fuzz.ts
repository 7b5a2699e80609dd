/** One kind of input and what must hold for it, however it looks. */
export interface FuzzTarget {
  name: string;
  /** Its share of all inputs of a run, from 0 to 1. */
  share: number;
  /** Tries that many inputs, made from the seed. Rejects with the smallest input found that breaks something. */
  run: (inputs: number, seed: number) => Promise<void>;
}

/** A fuzzer: several targets that share one number of inputs. */
export interface Fuzzer {
  name: string;
  targets: readonly FuzzTarget[];
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** An input may keep the processor busy for this long; more is a hang. */
export const HANG_MS = 1000;

/** Processor time and not the clock's, since the machine may have other things to do. */
export function processorMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** Runs every target's share of the inputs, one target after the other. */
export async function runFuzzer(
  fuzzer: Fuzzer,
  inputs: number,
  seed: number,
  log: (line: string) => void,
): Promise<void> {
  await fuzzer.start();
  try {
    for (const { name, share, run } of fuzzer.targets) {
      const count = Math.ceil(inputs * share);
      const startedMs = performance.now();
      await run(count, seed);
      log(
        `${fuzzer.name}: ${name}: ${count} inputs in ${Math.round((performance.now() - startedMs) / 1000)} s`,
      );
    }
  } finally {
    await fuzzer.stop();
  }
}
