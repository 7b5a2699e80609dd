import { type Canvas, type Column, pairLines, tableLines } from "./table.ts";
import { escapeForTerminal, escapeJsonForTerminal } from "./terminal-text.ts";

/** The answer's JSON: byte for byte into a file or pipe; on a terminal with its control characters escaped. */
export function printJson(text: string): void {
  process.stdout.write(`${process.stdout.isTTY ? escapeJsonForTerminal(text) : text}\n`);
}

export function printTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): void {
  printLines(tableLines(columns, rows, canvas()));
}

/** A table of sentences: none is cut, and the terminal wraps those that are too long for it. */
export function printSentences<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): void {
  printLines(tableLines(columns, rows, { ...canvas(), columns: undefined }));
}

export function printPairs(pairs: readonly (readonly [string, string])[]): void {
  printLines(pairLines(pairs, canvas()));
}

/** A line of standard output, made harmless to a terminal. */
export function printLine(text: string): void {
  process.stdout.write(`${escapeForTerminal(text)}\n`);
}

/** A line for the person at the terminal; scripts that read standard output never see it. */
export function note(text: string): void {
  process.stderr.write(`${escapeForTerminal(text)}\n`);
}

function printLines(lines: readonly string[]): void {
  process.stdout.write(lines.map((line) => `${line}\n`).join(""));
}

/** What a table may use of a stream: its width and colours where it is a terminal, unless NO_COLOR says otherwise. */
export function canvasOf(
  stream: { isTTY?: boolean; columns?: number },
  environment: Readonly<Record<string, string | undefined>>,
): Canvas {
  if (stream.isTTY !== true) return { colours: false, columns: undefined };
  const { NO_COLOR, TERM } = environment;
  return { colours: (NO_COLOR ?? "") === "" && TERM !== "dumb", columns: stream.columns };
}

function canvas(): Canvas {
  return canvasOf(process.stdout, process.env);
}
