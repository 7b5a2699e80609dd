import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { escapeForTerminal, escapeJsonForTerminal, fitText, textWidth } from "../../src/cli/terminal-text.ts";

const CONTROL = /\p{Cc}/u;

describe("escapeForTerminal", () => {
  it.each([
    ["a\nb\tc\rd", "a\\nb\\tc\\rd"],
    ["\u001b[2J", "\\u001b[2J"],
    ["\u0000\u007f\u009b", "\\u0000\\u007f\\u009b"],
    ["\u202eevil\u2066", "\\u202eevil\\u2066"],
    ["\ud800 alone", "\\ud800 alone"],
    ["plain ünïcode 日本 👩‍🚀", "plain ünïcode 日本 👩‍🚀"],
  ])("%j becomes %j", (text, escaped) => expect(escapeForTerminal(text)).toBe(escaped));

  it("leaves no control character and no lone surrogate of any text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        const escaped = escapeForTerminal(text);
        expect(CONTROL.test(escaped)).toBe(false);
        expect(escaped.isWellFormed()).toBe(true);
      }),
    );
  });
});

describe("escapeJsonForTerminal", () => {
  it("says the same as the JSON it was given, without control characters", () => {
    fc.assert(
      fc.property(fc.json({ stringUnit: "binary" }), fc.constantFrom(undefined, 2), (json, indent) => {
        const value: unknown = JSON.parse(json);
        const escaped = escapeJsonForTerminal(JSON.stringify(value, null, indent));
        expect(JSON.parse(escaped)).toEqual(value);
        expect(CONTROL.test(escaped.replaceAll("\n", ""))).toBe(false);
      }),
    );
  });
});

describe("textWidth", () => {
  it.each([
    ["", 0],
    ["abc", 3],
    ["é", 1],
    ["e\u0301", 1],
    ["日本", 4],
    ["한국", 4],
    ["ｆｕｌｌ", 8],
    ["👩‍🚀", 2],
    ["…→", 2],
    ["a\u200bb", 2],
  ])("%j takes %i columns", (text, width) => expect(textWidth(text)).toBe(width));
});

describe("fitText", () => {
  it.each([
    ["abcdef", 6, "abcdef"],
    ["abcdef", 5, "abcd…"],
    ["日本語", 5, "日本…"],
    ["日本語", 4, "日…"],
  ])("%j in %i columns is %j", (text, columns, fitted) => expect(fitText(text, columns)).toBe(fitted));

  it("never takes more columns than it was given", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), fc.integer({ min: 1, max: 40 }), (text, columns) => {
        expect(textWidth(fitText(escapeForTerminal(text), columns))).toBeLessThanOrEqual(columns);
      }),
    );
  });
});
