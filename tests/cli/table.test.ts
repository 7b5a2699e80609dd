import { stripVTControlCharacters } from "node:util";
import { describe, expect, it } from "vitest";
import { canvasOf } from "../../src/cli/output.ts";
import { type Column, pairLines, tableLines } from "../../src/cli/table.ts";

interface Row {
  name: string;
  message: string;
}

const columns: Column<Row>[] = [
  { heading: "NAME", text: ({ name }) => name, tone: () => "bad" },
  { heading: "MESSAGE", text: ({ message }) => message },
];
const rows: Row[] = [
  { name: "日本", message: "short" },
  { name: "a", message: "a message that is long" },
];
const plain = { colours: false, columns: undefined };

describe("tableLines", () => {
  it("aligns by width, not by length", () => {
    expect(tableLines(columns, rows, plain)).toEqual([
      "NAME  MESSAGE",
      "日本  short",
      "a     a message that is long",
    ]);
  });

  it("cuts the last column at the edge of a terminal", () => {
    const lines = tableLines(columns, rows, { colours: false, columns: 20 });
    expect(lines[2]).toBe("a     a message tha…");
    expect(lines[2]).toHaveLength(20);
  });

  it("runs over an edge that would leave nothing of the last column", () => {
    expect(tableLines(columns, rows, { colours: false, columns: 8 })[2]).toBe("a     a message that is long");
  });

  it("colours words without moving a column", () => {
    const coloured = tableLines(columns, rows, { colours: true, columns: undefined });
    expect(coloured[1]).toContain("\u001b[31m日本\u001b[39m");
    expect(coloured.map((line) => stripVTControlCharacters(line))).toEqual(tableLines(columns, rows, plain));
  });
});

it("pairLines aligns values and escapes them", () => {
  const pairs: [string, string][] = [
    ["id", "x"],
    ["last heartbeat", "a\u001bb"],
  ];
  expect(pairLines(pairs, plain)).toEqual(["id              x", "last heartbeat  a\\u001bb"]);
});

describe("canvasOf", () => {
  const terminal = { isTTY: true, columns: 80 };
  it.each([
    ["a terminal", terminal, {}, { colours: true, columns: 80 }],
    ["a terminal with NO_COLOR", terminal, { NO_COLOR: "1" }, { colours: false, columns: 80 }],
    ["a terminal with an empty NO_COLOR", terminal, { NO_COLOR: "" }, { colours: true, columns: 80 }],
    ["a dumb terminal", terminal, { TERM: "dumb" }, { colours: false, columns: 80 }],
    ["a pipe", {}, { FORCE_COLOR: "1" }, { colours: false, columns: undefined }],
  ])("%s", (_name, stream, environment, canvas) => expect(canvasOf(stream, environment)).toEqual(canvas));
});
