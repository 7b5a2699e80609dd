import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readStderrLine, resultOf } from "../../src/cli/agent-run/command-output.ts";
import { LineSplitter } from "../../src/cli/agent-run/line-splitter.ts";
import { OutputTail } from "../../src/cli/agent-run/output-tail.ts";

describe("the tail of an output", () => {
  it("is its last bytes, in whatever pieces they came", () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 40 })),
        fc.integer({ min: 1, max: 50 }),
        (pieces, limit) => {
          const tail = new OutputTail(limit);
          for (const piece of pieces) tail.write(Buffer.from(piece).map((byte) => byte & 0x7f) as Buffer);
          const all = Buffer.concat(pieces).map((byte) => byte & 0x7f);
          expect(tail.text()).toBe(Buffer.from(all.subarray(Math.max(0, all.length - limit))).toString());
          expect(tail.isCut).toBe(all.length > limit);
        },
      ),
    );
  });

  it("is JSON only where all of it is there", () => {
    const whole = new OutputTail(10);
    whole.write(Buffer.from(" [1]\n"));
    expect(resultOf(whole)).toEqual([1]);
    const cut = new OutputTail(3);
    cut.write(Buffer.from("12345"));
    expect(resultOf(cut)).toBe("345");
  });

  it("holds no NUL, which the server would refuse", () => {
    const tail = new OutputTail(10);
    tail.write(Buffer.from("a\0b"));
    expect(resultOf(tail)).toBe("a\ufffdb");
  });
});

it("lines are the same in whatever pieces they came", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), fc.array(fc.nat(50)), (text, cuts) => {
      const bytes = Buffer.from(text);
      const lines: string[] = [];
      const splitter = new LineSplitter((line) => lines.push(line));
      let from = 0;
      for (const size of cuts) {
        splitter.write(bytes.subarray(from, from + size));
        from += size;
      }
      splitter.write(bytes.subarray(from));
      splitter.end();
      const expected = bytes.toString().split("\n");
      if (expected.at(-1) === "") expected.pop();
      expect(lines).toEqual(expected);
    }),
  );
});

it("a line without an end comes in pieces", () => {
  const lines: string[] = [];
  const splitter = new LineSplitter((line) => lines.push(line), 4);
  splitter.write(Buffer.from("abcdefghij"));
  splitter.end();
  expect(lines).toEqual(["abcd", "efgh", "ij"]);
});

describe("a line of standard error", () => {
  it.each([
    ["::progress 0.4 some words", 0.4, "some words"],
    ["::progress 1", 1, undefined],
    ["::progress  .5   half  \r", 0.5, "half"],
    ["::progress 0", 0, undefined],
  ])("%j is progress", (line, progress, detail) => {
    expect(readStderrLine(line)).toEqual({ kind: "progress", progress, detail });
  });

  it.each([
    "::progress",
    "::progress 1.5",
    "::progress -1",
    "::progress x",
    " ::progress 0.4",
    "::progress 1e-3",
    "hello",
  ])("%j is text", (text) => expect(readStderrLine(text)).toEqual({ kind: "text", text }));
});
