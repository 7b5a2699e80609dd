import type { Figure } from "./statistics.ts";

/** What a goal says of a figure; `met` gets the medians by name. */
export interface Goal {
  words: string;
  met: (medians: Readonly<Record<string, number>>) => boolean;
}

/** What one benchmark measured. */
export interface Measurement {
  figures: Record<string, Figure>;
  goals: Goal[];
  /** What a reader has to know to judge the figures. */
  notes: string[];
}

/** A benchmark: at least five runs of each figure, every rival in the same run as Drover. */
export interface Benchmark {
  name: string;
  what: string;
  run: (log: (line: string) => void) => Promise<Measurement>;
}
