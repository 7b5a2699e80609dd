import { styleText } from "node:util";
import { escapeForTerminal, fitText, textWidth } from "./terminal-text.ts";

export type Tone = "good" | "warning" | "bad" | "quiet";

/** What a table can draw on: without a width nothing is cut, without colours there are none. */
export interface Canvas {
  colours: boolean;
  columns: number | undefined;
}

/** One column: its heading, and how to read its text and tone from a row. */
export interface Column<Row> {
  heading: string;
  text: (row: Row) => string;
  tone?: (row: Row) => Tone | undefined;
}

const GAP = "  ";
// A last column narrower than this says nothing; it then runs over the edge instead.
const NARROWEST_LAST = 10;

const styles = { good: "green", warning: "yellow", bad: "red", quiet: "dim" } as const satisfies Record<
  Tone,
  string
>;

/** Lines of a table whose columns are aligned; the last column is cut at the edge of the canvas. */
export function tableLines<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  canvas: Canvas,
): string[] {
  const heading: Cell[] = columns.map((column) => ({ text: column.heading, tone: "quiet" }));
  const body = rows.map((row) => columns.map((column) => cellOf(column, row)));
  const lines = [heading, ...body];
  const widths = columns.map((_, index) =>
    Math.max(...lines.map((cells) => textWidth(cells[index]?.text ?? ""))),
  );
  return lines.map((cells) => lineOf(cells, widths, canvas));
}

/** Lines of names and values, the values aligned; values are not cut. */
export function pairLines(pairs: readonly (readonly [string, string])[], canvas: Canvas): string[] {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => {
    const label = paint(name.padEnd(width), "quiet", canvas);
    return `${label}${GAP}${escapeForTerminal(value)}`.trimEnd();
  });
}

interface Cell {
  text: string;
  tone: Tone | undefined;
}

function cellOf<Row>(column: Column<Row>, row: Row): Cell {
  return { text: escapeForTerminal(column.text(row)), tone: column.tone?.(row) };
}

function lineOf(cells: readonly Cell[], widths: readonly number[], canvas: Canvas): string {
  let line = "";
  let used = 0;
  cells.forEach((cell, index) => {
    const width = widths[index] ?? 0;
    if (index === cells.length - 1) {
      const room = canvas.columns === undefined ? Number.POSITIVE_INFINITY : canvas.columns - used;
      line += paint(room < NARROWEST_LAST ? cell.text : fitText(cell.text, room), cell.tone, canvas);
      return;
    }
    line += paint(cell.text, cell.tone, canvas) + " ".repeat(width - textWidth(cell.text)) + GAP;
    used += width + GAP.length;
  });
  return line.trimEnd();
}

function paint(text: string, tone: Tone | undefined, canvas: Canvas): string {
  if (tone === undefined || !canvas.colours || text.trim() === "") return text;
  return styleText(styles[tone], text, { validateStream: false });
}
